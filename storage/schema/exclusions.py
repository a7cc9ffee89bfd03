"""The table of what operators let out of outages: unlike the other tables of the schema, people enter its rows."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Identity, Index, PrimaryKeyConstraint, Table, Text, func

from storage.schema.tables import instant, metadata, tenant_column
from storage.schema_names import CHARGING

operator_exclusion = Table(
    "operator_exclusion",
    metadata,
    tenant_column(),
    Column("exclusion_id", BigInteger, Identity(always=True), nullable=False, comment="Number of the entry"),
    Column("evse_id", BigInteger, comment="EVSE that it covers; null: it covers a charge point or a location"),
    Column("charge_point_id", BigInteger, comment="Charge point whose EVSEs it covers"),
    Column("location_id", BigInteger, comment="Location whose EVSEs it covers"),
    instant("began_at", "Beginning of the time that does not count", nullable=False),
    instant("ended_at", "End of it; null: it lasts"),
    Column("reason", Text, nullable=False, comment="Why it does not count, such as vandalism"),
    Column("evidence", Text, comment="What proves it, such as the number of a police report"),
    Column("entered_by", Text, nullable=False, comment="Who entered it"),
    instant("recorded_at", "When it was entered", nullable=False, default=func.now()),
    instant("withdrawn_at", "When it was withdrawn; null: it holds"),
    PrimaryKeyConstraint("tenant", "exclusion_id"),
    CheckConstraint("num_nonnulls(evse_id, charge_point_id, location_id) = 1", name="operator_exclusion_subject_check"),
    CheckConstraint("began_at < ended_at", name="operator_exclusion_order_check"),
    Index(None, "tenant", "evse_id"),
    Index(None, "tenant", "charge_point_id"),
    Index(None, "tenant", "location_id"),
    schema=CHARGING,
    comment="What an operator lets out of outages, with reason and evidence; rows are withdrawn and never deleted",
)
