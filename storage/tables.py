"""Every table that is not a mirror of one of the tenant's entities.

Schema ``ingest`` carries a notification from acceptance to its outcome; the history
tables of schema ``charging`` hold observations, which are only ever added. The mirrored
entities themselves are in :mod:`storage.mirrors`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.sql.functions import FunctionElement

INGEST = "ingest"
CHARGING = "charging"

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
    }
)


def instant(name: str, comment: str, *, nullable: bool = True, default: FunctionElement[Any] | None = None) -> Column:  # type: ignore[type-arg]
    """A ``timestamptz`` column; its name ends in ``_at``."""
    return Column(name, TIMESTAMP(timezone=True), nullable=nullable, server_default=default, comment=comment)


def tenant_column() -> Column[str]:
    """The tenant, first in every key, so that the database can be distributed by it."""
    return Column("tenant", Text, nullable=False, comment="Tenant, as named in tenants.toml")


notification = Table(
    "notification",
    metadata,
    tenant_column(),
    instant("received_at", "When the receiver had read the whole body; the partition key", nullable=False),
    Column("notification_id", Uuid, nullable=False, comment="UUIDv7; its time part is received_at"),
    Column("batch_id", Uuid, nullable=False, comment="The batch whose progress covers this notification"),
    Column("notification_type", Text, comment="Name that AMPECO gives the notification, where the body tells one"),
    Column("session_id", BigInteger, comment="Session that the body names, where it names one"),
    Column("evse_id", BigInteger, comment="EVSE that the body names, where it names one"),
    Column("charge_point_id", BigInteger, comment="Charge point that the body names, where it names one"),
    Column("token_id", Text, nullable=False, comment="Which token verified the signature; not the token itself"),
    Column("signature_encoding", Text, nullable=False, comment="Form of the signature that matched: hex or base64"),
    Column("headers", JSONB, nullable=False, comment="Delivery headers as sent: X-Timestamp, X-Tenant, X-Webhook-*"),
    Column(
        "body",
        LargeBinary,
        nullable=False,
        comment="The request body, byte for byte; where body_sha256 is set, with values redacted",
    ),
    Column(
        "body_sha256",
        LargeBinary,
        comment="SHA-256 of the body as it came, where the body was changed since: secrets, forgotten people",
    ),
    PrimaryKeyConstraint("tenant", "received_at", "notification_id"),
    Index(None, "tenant", "batch_id"),
    schema=INGEST,
    comment="Every notification accepted, exactly as it came; append-only, partitioned by day",
    postgresql_partition_by="RANGE (received_at)",
)

batch = Table(
    "batch",
    metadata,
    tenant_column(),
    Column("batch_id", Uuid, nullable=False, comment="UUIDv7"),
    Column("notifications", Integer, nullable=False, comment="How many notifications were committed together"),
    Column("body_bytes", BigInteger, nullable=False, comment="Length of their bodies together, bytes"),
    instant("first_received_at", "Earliest received_at in the batch", nullable=False),
    instant("last_received_at", "Latest received_at in the batch", nullable=False),
    instant("committed_at", "When the batch was committed", nullable=False, default=func.now()),
    instant("sent_at", "When the sweep last sent a message for it again"),
    instant("lease_expires_at", "Until then a worker has it in hand"),
    Column("leased_by", Uuid, comment="Process that holds the lease, which ends with it"),
    instant("applied_at", "When every notification in it was settled; null while the batch is open"),
    Column(
        "attempts",
        SmallInteger,
        nullable=False,
        server_default=text("0"),
        comment="How often a worker took it in hand, counted before the work; but for failures",
    ),
    Column(
        "failures",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="How often in a row an attempt failed through no fault of its notifications",
    ),
    Column(
        "probing_notification_id",
        Uuid,
        comment="The notification being tried alone, noted before the try: still set, it ended its worker",
    ),
    Column("last_error", Text, comment="Why the last attempt did not finish"),
    PrimaryKeyConstraint("tenant", "batch_id"),
    Index("batch_open_idx", "batch_id", postgresql_where=text("applied_at IS NULL")),
    schema=INGEST,
    comment="Progress of the notifications that were committed together",
)

outcome = Table(
    "outcome",
    metadata,
    tenant_column(),
    Column("notification_id", Uuid, nullable=False, comment="The notification that was not applied"),
    Column("batch_id", Uuid, nullable=False, comment="Its batch"),
    instant("received_at", "Its partition in the log", nullable=False),
    Column("state", Text, nullable=False, comment="ignored or failed"),
    Column("reason", Text, nullable=False, comment="Why, in one line"),
    Column("error", Text, comment="The error, for a failed one"),
    Column("traceback", Text, comment="Where it failed: the innermost frames, without values"),
    instant("recorded_at", "When it was set aside", nullable=False, default=func.now()),
    PrimaryKeyConstraint("tenant", "notification_id"),
    Index(None, "state", "recorded_at"),
    Index(
        "outcome_failed_idx",
        "tenant",
        "received_at",
        "notification_id",
        postgresql_where=text("state = 'failed'"),
    ),
    schema=INGEST,
    comment="The notifications that were ignored or failed; every other one of an applied batch was applied",
)

total = Table(
    "total",
    metadata,
    tenant_column(),
    Column(
        "closed",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Notifications of closed batches, whatever became of each",
    ),
    Column(
        "ignored",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Those of them that were ignored, and not applied since",
    ),
    Column(
        "failed",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Those of them that failed, and were not applied since",
    ),
    PrimaryKeyConstraint("tenant"),
    schema=INGEST,
    comment="Running totals of what became of notifications; what was dropped from the log is in them",
)

dropped_day = Table(
    "dropped_day",
    metadata,
    Column("day", Date, nullable=False, comment="The day, in UTC"),
    instant("dropped_at", "When it was dropped", nullable=False, default=func.now()),
    Column("kept", BigInteger, nullable=False, comment="Failed notifications of it that were kept"),
    PrimaryKeyConstraint("day"),
    schema=INGEST,
    comment="Days that were dropped from the log, but for what failed",
)

refresh_request = Table(
    "refresh_request",
    metadata,
    tenant_column(),
    Column("kind", Text, nullable=False, comment="Kind of entity, such as session or evse"),
    Column("entity_id", BigInteger, nullable=False, comment="Id of the entity at AMPECO; 0 beside a reference"),
    Column(
        "reference",
        Text,
        nullable=False,
        server_default=text("''"),
        comment="What it is looked up by in a listing, where the notification does not tell its id; else empty",
    ),
    Column(
        "reason",
        Text,
        nullable=False,
        comment="Why a read is wanted: changed, conflicting, gone, provisional or unknown",
    ),
    Column(
        "generation",
        BigInteger,
        nullable=False,
        server_default=text("1"),
        comment="Grows with each mark; a finished read removes only the generation it claimed",
    ),
    Column(
        "priority",
        SmallInteger,
        nullable=False,
        server_default=text("5"),
        comment="The lower, the sooner: 0 a running session or a faulted EVSE",
    ),
    Column("requested_by", Uuid, comment="The notification that last asked for the read"),
    instant("requested_at", "When it was first asked for since its last read", nullable=False, default=func.now()),
    instant("due_at", "Not to be read before", nullable=False, default=func.now()),
    instant("lease_expires_at", "Until then a worker has it in hand"),
    Column("leased_by", Uuid, comment="Process that holds the lease, which ends with it"),
    Column(
        "attempts", SmallInteger, nullable=False, server_default=text("0"), comment="Reads begun since the first mark"
    ),
    Column("last_error", Text, comment="Why the last read did not settle it"),
    PrimaryKeyConstraint("tenant", "kind", "entity_id", "reference"),
    Index(None, "tenant", "due_at"),
    schema=INGEST,
    comment="Entities that want a read of the API: one row each, however often they are marked",
)

forbidden_kind = Table(
    "forbidden_kind",
    metadata,
    tenant_column(),
    Column("kind", Text, nullable=False, comment="Kind of entity that the tenant's token may not read"),
    instant("first_refused_at", "When AMPECO first answered 403", nullable=False, default=func.now()),
    instant("last_refused_at", "When AMPECO last answered 403", nullable=False, default=func.now()),
    instant("ask_again_at", "Until then nothing of the kind is read", nullable=False),
    Column("error", Text, nullable=False, comment="What AMPECO answered last"),
    PrimaryKeyConstraint("tenant", "kind"),
    schema=INGEST,
    comment="What a tenant's token may not read; a read that succeeds removes the row",
)

sync_cursor = Table(
    "sync_cursor",
    metadata,
    tenant_column(),
    Column("kind", Text, nullable=False, comment="Kind of entity whose listing is synced"),
    instant("changed_until", "Every change up to this time of the tenant's clock has been read"),
    instant("full_at", "When the last sync run through the whole listing ended"),
    instant("checked_at", "When the last sync run ended", nullable=False, default=func.now()),
    PrimaryKeyConstraint("tenant", "kind"),
    schema=INGEST,
    comment="How far each kind of entity has been reconciled with the tenant",
)

sync_run = Table(
    "sync_run",
    metadata,
    tenant_column(),
    Column("sync_run_id", Uuid, nullable=False, comment="UUIDv7"),
    Column("kind", Text, nullable=False, comment="Kind of entity whose listing is synced"),
    Column("purpose", Text, nullable=False, comment="backfill or reconcile"),
    instant("changed_since", "Only what changed at this time of the tenant's clock or later; null: everything"),
    instant("began_at", "When the first page was read, by the tenant's clock"),
    instant("started_at", "When the sync run was begun", nullable=False, default=func.now()),
    instant("moved_at", "When its last page was stored", nullable=False, default=func.now()),
    instant("finished_at", "When its last page was stored; null while there is more to read"),
    instant("requested_at", "When the backfill that it belongs to was requested; null: no command asked for it"),
    instant("lease_expires_at", "Until then a process has it in hand; renewed while that process lives"),
    instant("retry_at", "Put off until then, as AMPECO refused or failed it or asked for a pause; last_error says why"),
    Column("following", JSONB, comment="Query of the next page; null at the first, and after the last"),
    Column("pages", Integer, nullable=False, server_default=text("0"), comment="Pages read"),
    Column("calls", Integer, nullable=False, server_default=text("0"), comment="Calls made, further reads included"),
    Column("compared", BigInteger, nullable=False, server_default=text("0"), comment="Entities compared"),
    Column("missing", BigInteger, nullable=False, server_default=text("0"), comment="Those that we did not know"),
    Column(
        "stale",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Those of which we knew an older state, with no notification or read of it under way",
    ),
    Column("healed", BigInteger, nullable=False, server_default=text("0"), comment="Missing and stale ones mended"),
    Column(
        "absent",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Those we know that a whole listing does not show; each is read, and a 404 makes it deleted",
    ),
    Column("unreadable", Integer, nullable=False, server_default=text("0"), comment="Listed, and not to be understood"),
    Column(
        "behind_seconds",
        Numeric,
        comment="Age of the oldest change that was missed, by the tenant's clock, seconds",
    ),
    Column("last_error", Text, comment="Why it does not go on, while it does not"),
    PrimaryKeyConstraint("tenant", "sync_run_id"),
    Index("sync_run_open_idx", "tenant", "kind", unique=True, postgresql_where=text("finished_at IS NULL")),
    Index("sync_run_request_idx", "tenant", "requested_at", postgresql_where=text("requested_at IS NOT NULL")),
    schema=INGEST,
    comment="Each sync run through a listing, to compare the tenant with what we know and to heal the differences",
)

sync_run_page = Table(
    "sync_run_page",
    metadata,
    tenant_column(),
    Column("sync_run_id", Uuid, nullable=False, comment="The sync run"),
    Column("page", Integer, nullable=False, comment="Number of the page, from 1"),
    Column("entity_ids", ARRAY(BigInteger), nullable=False, comment="Ids of the entities that it listed"),
    PrimaryKeyConstraint("tenant", "sync_run_id", "page"),
    schema=INGEST,
    comment="What the pages of an unfinished sync run through a whole listing showed; all else is read at its end",
)

api_usage = Table(
    "api_usage",
    metadata,
    tenant_column(),
    instant("hour_at", "The hour, from its beginning", nullable=False),
    Column(
        "reason",
        Text,
        nullable=False,
        comment="refresh, reconcile, backfill, status_log, subscription_monitor or manual",
    ),
    Column("calls", BigInteger, nullable=False, server_default=text("0"), comment="Calls made"),
    Column(
        "saved",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Reads asked for that needed no call of their own",
    ),
    PrimaryKeyConstraint("tenant", "hour_at", "reason"),
    schema=INGEST,
    comment="Calls of the tenant's API, by hour and reason",
)


unknown_fields = Table(
    "unknown_field",
    metadata,
    tenant_column(),
    Column("what", Text, nullable=False, comment="type: of notification; field: of a model"),
    Column("model", Text, nullable=False, comment="What the field came with, such as Session; empty for a type"),
    Column("name", Text, nullable=False, comment="Its name; * for names that cannot be shown or are too many"),
    Column("times", BigInteger, nullable=False, comment="How often it was seen"),
    instant("first_seen_at", "When it was first received", nullable=False),
    instant("last_seen_at", "When it was last received", nullable=False),
    Column("shape", Text, comment="JSON type, and of an object its keys with their types; never a value"),
    Column("notification_id", Uuid, comment="The first notification that carried it; null where a read did"),
    PrimaryKeyConstraint("tenant", "what", "model", "name"),
    schema=INGEST,
    comment="Types and fields that AMPECO sends and this release does not know, at most 50 of each model",
)


def _observation_columns() -> list[Column]:  # type: ignore[type-arg]
    return [
        Column("source", Text, nullable=False, comment="Who told: notification, status_log or read"),
        Column("notification_id", Uuid, comment="The first notification that told, where one did"),
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
    Column("location", Text, comment="Where it was measured, where the sample tells"),
    Column("evse_id", BigInteger, comment="EVSE"),
    Column("charge_point_id", BigInteger, comment="Charge point"),
    Column("notification_id", Uuid, comment="The first notification that told"),
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
    schema=CHARGING,
    comment="Each meter sample of a session; append-only. A sample is known by its whole content",
)

notice = Table(
    "notice",
    metadata,
    tenant_column(),
    Column("subject", Text, nullable=False, comment="What it is about, such as security_event or user_balance"),
    instant("observed_at", "When it was so, by its source's clock; null where the notification tells no time"),
    Column("digest", Text(collation="C"), nullable=False, comment="Of details: with the time it tells notices apart"),
    Column("charge_point_id", BigInteger, comment="Charge point, where one is named"),
    Column("evse_id", BigInteger, comment="EVSE, where one is named"),
    Column("session_id", BigInteger, comment="Session, where one is named"),
    Column("user_id", BigInteger, comment="User, where one is named; 0 for somebody forgotten"),
    Column("circuit_id", BigInteger, comment="Circuit, where one is named"),
    Column("details", JSONB, nullable=False, comment="The notification as sent, without its name and without secrets"),
    Column("notification_id", Uuid, comment="The first notification that told"),
    instant("recorded_at", "When it was first recorded here", nullable=False, default=func.now()),
    UniqueConstraint("tenant", "subject", "observed_at", "digest", postgresql_nulls_not_distinct=True),
    schema=CHARGING,
    comment="Each fact that a notification tells and no read gives again; append-only",
)

session_revision = Table(
    "session_revision",
    metadata,
    tenant_column(),
    Column("session_id", BigInteger, nullable=False, comment="Session"),
    Column(
        "column_group", Text, nullable=False, comment="Group of columns that changed: state, detail, meter, presence"
    ),
    instant("fact_at", "Time of the new fact, by its source's clock", nullable=False),
    Column(
        "fact_version", Text(collation="C"), nullable=False, comment="Version of the new fact; orders those of one time"
    ),
    Column("changed_from", JSONB, nullable=False, comment="The columns that changed, with their former values"),
    Column("changed_to", JSONB, nullable=False, comment="The same columns, with their new values"),
    Column("source", Text, nullable=False, comment="What told us: notification, read or rebuild"),
    Column("notification_id", Uuid, comment="The notification that told, where one did"),
    instant("learned_at", "When we learned it", nullable=False, default=func.now()),
    PrimaryKeyConstraint("tenant", "session_id", "column_group", "fact_at", "fact_version"),
    Index(None, "tenant", "learned_at"),
    schema=CHARGING,
    comment="Each change of a session that we knew to have stopped; append-only",
)
