"""Tables of the derivation: marks, which name the entities to derive again, and the secret of the keys of drivers."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Identity, LargeBinary, PrimaryKeyConstraint, Table, Text, func

from storage.schema.tables import instant, metadata, tenant_column
from storage.schema_names import ANALYTICS, INGEST

dirty = Table(
    "dirty",
    metadata,
    tenant_column(),
    Column("dirty_id", BigInteger, Identity(always=True), nullable=False, comment="Order of the marks"),
    Column("kind", Text, nullable=False, comment="Kind of entity that changed, or evse_status"),
    Column("entity_id", BigInteger, nullable=False, comment="Id of the entity at AMPECO"),
    instant("changed_since", "What happened to it from then on is to be derived again; null: everything"),
    instant("marked_at", "When the change was written", nullable=False, default=func.now()),
    PrimaryKeyConstraint("tenant", "dirty_id"),
    schema=ANALYTICS,
    comment="Entities whose derived rows are out of date; a row goes when they are derived again",
)

driver_secret = Table(
    "driver_secret",
    metadata,
    tenant_column(),
    Column("secret", LargeBinary, nullable=False, comment="Random secret of the digests in driver_key, 32 bytes"),
    PrimaryKeyConstraint("tenant"),
    schema=INGEST,
    comment="The secret with which analytics makes driver_key of a user's id; analysts cannot read it",
)
