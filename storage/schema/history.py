"""Define the history: observations, notices and revisions. Rows are only added, except to that of master data."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

from storage.schema.tables import instant, metadata, tenant_column
from storage.schema_names import CHARGING


def _observation_columns() -> list[Column[Any]]:
    return [
        Column("source", Text, nullable=False, comment="Its source: notification, status_log or read"),
        Column("notification_id", Uuid, comment="The first notification that contained it, if one did"),
        instant("recorded_at", "When it was first recorded here", nullable=False, default=func.now()),
    ]


evse_status_observation = Table(
    "evse_status_observation",
    metadata,
    tenant_column(),
    Column("evse_id", BigInteger, nullable=False, comment="EVSE"),
    instant("observed_at", "Time of the status by the charge point's clock", nullable=False),
    Column("charge_point_id", BigInteger, comment="Charge point, where the source names it"),
    Column("hardware_status", Text, comment="Status as AMPECO spells it; null: never reported"),
    Column("error_code", Text, comment="OCPP error code; NoError when fine"),
    Column("error_info", Text, comment="Free text of the charge point"),
    Column("vendor_id", Text, comment="Vendor whose error code it is"),
    Column("vendor_error_code", Text, comment="Error code of the vendor"),
    *_observation_columns(),
    UniqueConstraint(
        "tenant", "evse_id", "observed_at", "hardware_status", "error_code", postgresql_nulls_not_distinct=True
    ),
    schema=CHARGING,
    comment="Each hardware status that an EVSE reported; append-only",
)

charge_point_hardware_observation = Table(
    "charge_point_hardware_observation",
    metadata,
    tenant_column(),
    Column("charge_point_id", BigInteger, nullable=False, comment="Charge point"),
    instant("observed_at", "Time of the status by the charge point's clock", nullable=False),
    Column("hardware_status", Text, comment="available, unavailable, faulted; null: never reported"),
    Column("error_code", Text, comment="OCPP error code; NoError when fine"),
    Column("error_info", Text, comment="Free text of the charge point"),
    Column("vendor_id", Text, comment="Vendor whose error code it is"),
    Column("vendor_error_code", Text, comment="Error code of the vendor"),
    *_observation_columns(),
    UniqueConstraint(
        "tenant", "charge_point_id", "observed_at", "hardware_status", "error_code", postgresql_nulls_not_distinct=True
    ),
    schema=CHARGING,
    comment="Each hardware status that a charge point reported for itself; append-only",
)

charge_point_network_observation = Table(
    "charge_point_network_observation",
    metadata,
    tenant_column(),
    Column("charge_point_id", BigInteger, nullable=False, comment="Charge point"),
    instant("observed_at", "Time of the status", nullable=False),
    Column(
        "network_status",
        Text,
        comment="never_connected, available, temporarily_unavailable or long_term_unavailable",
    ),
    *_observation_columns(),
    UniqueConstraint("tenant", "charge_point_id", "observed_at", "network_status", postgresql_nulls_not_distinct=True),
    schema=CHARGING,
    comment="Each network status of a charge point; append-only",
)

meter_value = Table(
    "meter_value",
    metadata,
    tenant_column(),
    Column("session_id", BigInteger, nullable=False, comment="Session"),
    instant("measured_at", "Time of the sample by the charge point's clock", nullable=False),
    Column("measurand", Text, nullable=False, comment="What was measured, as AMPECO spells it"),
    Column(
        "ordinal",
        SmallInteger,
        nullable=False,
        comment="Counts the samples of one measurand and time in one notification: phases come without a name",
    ),
    Column("value", Numeric, nullable=False, comment="The reading, in unit"),
    Column("unit", Text, comment="Wh, A, V, Percent, Celsius, or what the charge point sends"),
    Column("location", Text, comment="Where it was measured, if the sample contains it"),
    Column("evse_id", BigInteger, comment="EVSE"),
    Column("charge_point_id", BigInteger, comment="Charge point"),
    Column("notification_id", Uuid, comment="The first notification that contained it"),
    UniqueConstraint(
        "tenant",
        "session_id",
        "measured_at",
        "measurand",
        "ordinal",
        "unit",
        "value",
        postgresql_nulls_not_distinct=True,
        name="meter_value_sample_key",
    ),
    # Samples come about in order of time, so this finds those of a day, and takes no space to speak of.
    Index("meter_value_measured_at_idx", "measured_at", postgresql_using="brin"),
    schema=CHARGING,
    comment="Each meter sample of a session; append-only. Its whole content identifies a sample",
    postgresql_partition_by="RANGE (measured_at)",
)

consumption_point = Table(
    "consumption_point",
    metadata,
    tenant_column(),
    Column("session_id", BigInteger, nullable=False, comment="Session without meter values"),
    instant("measured_at", "Time of the point, as AMPECO shows it", nullable=False),
    Column("energy_wh", Numeric, comment="Energy up to then, cumulative, Wh; null: AMPECO shows none"),
    Column("power_w", Numeric, comment="Power at that time, W; null: AMPECO shows none"),
    instant("recorded_at", "When it was recorded here", nullable=False, default=func.now()),
    UniqueConstraint("tenant", "session_id", "measured_at"),
    schema=CHARGING,
    comment="Consumption of finished sessions without meter values, from AMPECO's consumption-stats; append-only",
)

notice = Table(
    "notice",
    metadata,
    tenant_column(),
    Column("subject", Text, nullable=False, comment="What it is about, such as security_event or user_balance"),
    instant("observed_at", "Time of the fact, by the clock of its source; null if the notification has no time"),
    Column("digest", Text(collation="C"), nullable=False, comment="Digest of details, which identifies the notice"),
    Column("charge_point_id", BigInteger, comment="Charge point, where one is named"),
    Column("evse_id", BigInteger, comment="EVSE, where one is named"),
    Column("session_id", BigInteger, comment="Session, where one is named"),
    Column("user_id", BigInteger, comment="User, where one is named; 0 for an erased one"),
    Column("circuit_id", BigInteger, comment="Circuit, where one is named"),
    Column("details", JSONB, nullable=False, comment="The notification as sent, without its name and without secrets"),
    Column("notification_id", Uuid, comment="The first notification that contained it"),
    instant("recorded_at", "When it was first recorded here", nullable=False, default=func.now()),
    UniqueConstraint("tenant", "subject", "observed_at", "digest", postgresql_nulls_not_distinct=True),
    schema=CHARGING,
    comment="Notices: facts of notifications that no read shows again; append-only",
)

error_description = Table(
    "error_description",
    metadata,
    tenant_column(),
    Column("digest", Text(collation="C"), nullable=False, comment="Digest of the following columns"),
    Column("error_code", Text, comment="OCPP error code"),
    Column("vendor_id", Text, comment="Vendor whose error code it is"),
    Column("vendor_error_code", Text, comment="Error code of the vendor"),
    Column("description", Text, comment="What AMPECO says that it means"),
    Column("customer_action", Text, comment="What AMPECO says that a driver can do about it"),
    instant("recorded_at", "When it was first recorded here", nullable=False, default=func.now()),
    UniqueConstraint("tenant", "digest"),
    schema=CHARGING,
    comment="What error codes of status logs mean, by AMPECO; append-only",
)

session_revision = Table(
    "session_revision",
    metadata,
    tenant_column(),
    Column("session_id", BigInteger, nullable=False, comment="Session"),
    Column("column_group", Text, nullable=False, comment="Column group that changed: state, detail, meter or presence"),
    instant("fact_at", "Time of the new fact, by its source's clock", nullable=False),
    Column(
        "fact_version",
        Text(collation="C"),
        nullable=False,
        comment="Version of the new fact; orders those of one time",
    ),
    Column("changed_from", JSONB, nullable=False, comment="The columns that changed, with their former values"),
    Column("changed_to", JSONB, nullable=False, comment="The same columns, with their new values"),
    Column("source", Text, nullable=False, comment="Source of the new fact: notification, read or rebuild"),
    Column("notification_id", Uuid, comment="The notification that contained the new fact, if one did"),
    instant("learned_at", "When the change was written", nullable=False, default=func.now()),
    PrimaryKeyConstraint("tenant", "session_id", "column_group", "fact_at", "fact_version"),
    Index(None, "tenant", "learned_at"),
    schema=CHARGING,
    comment="Revisions: each change of a session that was stored as stopped; append-only",
)

master_observation = Table(
    "master_observation",
    metadata,
    tenant_column(),
    Column("kind", Text, nullable=False, comment="Kind of entity, such as evse"),
    Column("entity_id", BigInteger, nullable=False, comment="Id at AMPECO"),
    Column("column_group", Text, nullable=False, comment="Column group: master, boot or presence"),
    instant("fact_at", "Time of the fact, by its source's clock", nullable=False),
    Column("source", Text, nullable=False, comment="Source of the fact: notification or read"),
    Column(
        "digest",
        Text(collation="C"),
        comment="Digest of tracked, for a notification; null for a read, which replaces an earlier one of its time",
    ),
    Column(
        "fact_version", Text(collation="C"), nullable=False, comment="Version of the fact; orders those of one time"
    ),
    Column("tracked", JSONB, nullable=False, comment="The tracked columns of the group, with their values"),
    Column("notification_id", Uuid, comment="The first notification that contained the fact, if one did"),
    instant("recorded_at", "When it was first recorded here", nullable=False, default=func.now()),
    UniqueConstraint(
        *("tenant", "kind", "entity_id", "column_group", "fact_at", "source", "digest"),
        postgresql_nulls_not_distinct=True,
        name="master_observation_fact_key",
    ),
    schema=CHARGING,
    comment="What each fact said of tracked columns of master data; of reads that show the same, the first and last",
)
