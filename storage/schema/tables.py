"""Define the tables of the inbox and of the queues, and what all tables are made of.

The tables of schema ``ingest`` track a notification from its receipt to its outcome. The mirrors are in
:mod:`storage.schema.entities`, the history in :mod:`storage.schema.history`, the tables of monitoring in
:mod:`storage.schema.monitoring`, those of erasures in :mod:`storage.schema.erasure`.
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
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.sql.functions import FunctionElement

from storage.schema_names import INGEST

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
    }
)


def instant(
    name: str, comment: str, *, nullable: bool = True, default: FunctionElement[Any] | None = None
) -> Column[Any]:
    """Make a ``timestamptz`` column; its name ends in ``_at``."""
    return Column(name, TIMESTAMP(timezone=True), nullable=nullable, server_default=default, comment=comment)


def tenant_column() -> Column[str]:
    """Make the column of the tenant, which comes first in every key, so that the database can be distributed by it."""
    return Column("tenant", Text, nullable=False, comment="Tenant, as named in tenants.toml")


notification = Table(
    "notification",
    metadata,
    tenant_column(),
    instant("received_at", "When the receiver had read the whole body; the partition key", nullable=False),
    Column("notification_id", Uuid, nullable=False, comment="UUIDv7; its time part is received_at"),
    Column("batch_id", Uuid, nullable=False, comment="The batch whose progress covers this notification"),
    Column("notification_type", Text, comment="Search column: notification type in the body"),
    Column("session_id", BigInteger, comment="Search column: session that the body names"),
    Column("evse_id", BigInteger, comment="Search column: EVSE that the body names"),
    Column("charge_point_id", BigInteger, comment="Search column: charge point that the body names"),
    Column("token_id", Text, nullable=False, comment="Which token verified the signature; not the token itself"),
    Column(
        "signature_encoding",
        Text,
        nullable=False,
        comment="Form of the signature that matched: hex or base64, and its coverage",
    ),
    Column("headers", JSONB, nullable=False, comment="Delivery headers as sent: X-Timestamp, X-Tenant, X-Webhook-*"),
    Column(
        "body",
        LargeBinary,
        nullable=False,
        comment="The request body, byte for byte; if body_sha256 is set, without secrets and erased people",
    ),
    Column(
        "body_sha256",
        LargeBinary,
        comment="SHA-256 of the body as it arrived, if it was changed since: secrets redacted, people erased",
    ),
    PrimaryKeyConstraint("tenant", "received_at", "notification_id"),
    Index(None, "tenant", "batch_id"),
    schema=INGEST,
    comment="The log of accepted notifications, as they arrived; append-only, partitioned by UTC day",
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
    instant("sent_at", "When the sweep last sent a wake-up for it"),
    instant("lease_expires_at", "When its lease ends; no other worker claims it before"),
    Column("leased_by", Uuid, comment="Process that holds the lease, which ends with it"),
    instant("applied_at", "When all its notifications were applied or had an outcome; null while the batch is open"),
    Column(
        "attempts",
        SmallInteger,
        nullable=False,
        server_default=text("0"),
        comment="How often a worker claimed it, counted before the work; failures are not included",
    ),
    Column(
        "failures",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="How many attempts in a row failed for a reason outside its notifications",
    ),
    Column(
        "probing_notification_id",
        Uuid,
        comment="Notification that is being applied alone, recorded before: if it is still set, it ended its worker",
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
    instant("recorded_at", "When the outcome was recorded", nullable=False, default=func.now()),
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
        comment="Notifications of closed batches, whatever their outcomes",
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
    comment="Running totals of notifications by outcome, including those that were dropped from the log",
)

dropped_day = Table(
    "dropped_day",
    metadata,
    Column("day", Date, nullable=False, comment="The day, in UTC"),
    instant("dropped_at", "When it was dropped", nullable=False, default=func.now()),
    Column("kept", BigInteger, nullable=False, comment="Failed notifications of it that were kept"),
    PrimaryKeyConstraint("day"),
    schema=INGEST,
    comment="Days that were dropped from the log, except their failed notifications",
)

dropped_month = Table(
    "dropped_month",
    metadata,
    instant("ended_at", "The end of the month, in UTC; of the first one also everything before it", nullable=False),
    instant("dropped_at", "When it was dropped", nullable=False, default=func.now()),
    PrimaryKeyConstraint("ended_at"),
    schema=INGEST,
    comment="Months whose meter values were dropped",
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
        comment="Reference by which to look it up in a listing, if its id is not known; else empty",
    ),
    Column(
        "reason",
        Text,
        nullable=False,
        comment="Why a read is requested: changed, conflicting, gone, provisional or unknown",
    ),
    Column(
        "generation",
        BigInteger,
        nullable=False,
        server_default=text("1"),
        comment="Grows with each request; a finished read resolves only the generation that it claimed",
    ),
    Column(
        "priority",
        SmallInteger,
        nullable=False,
        server_default=text("5"),
        comment="The lower, the sooner: 0 a running session or a faulted EVSE",
    ),
    Column("requested_by", Uuid, comment="The notification that last requested the read"),
    instant("requested_at", "When the read was first requested since the last one", nullable=False, default=func.now()),
    instant("due_at", "When to read it at the earliest", nullable=False, default=func.now()),
    instant("lease_expires_at", "When its lease ends; no other worker claims it before"),
    Column("leased_by", Uuid, comment="Process that holds the lease, which ends with it"),
    Column(
        "attempts",
        SmallInteger,
        nullable=False,
        server_default=text("0"),
        comment="Reads begun since it was first requested",
    ),
    Column("last_error", Text, comment="Why the last read did not resolve it"),
    PrimaryKeyConstraint("tenant", "kind", "entity_id", "reference"),
    Index(None, "tenant", "due_at"),
    schema=INGEST,
    comment="Entities to read from the API: one row each, however often the read is requested",
)

inaccessible_kind = Table(
    "inaccessible_kind",
    metadata,
    tenant_column(),
    Column("kind", Text, nullable=False, comment="Kind of entity that cannot be read"),
    Column(
        "reason",
        Text,
        nullable=False,
        comment="forbidden: the token may not read it (403); not_offered: no such feature or path (404)",
    ),
    instant("first_refused_at", "When AMPECO first refused it", nullable=False, default=func.now()),
    instant("last_refused_at", "When AMPECO last refused it", nullable=False, default=func.now()),
    instant("ask_again_at", "When to read the kind again, to find out whether it is still refused", nullable=False),
    Column("error", Text, nullable=False, comment="What AMPECO answered last"),
    PrimaryKeyConstraint("tenant", "kind"),
    schema=INGEST,
    comment="Kinds that cannot be read for a tenant; a successful read removes the row",
)

ampeco_release = Table(
    "ampeco_release",
    metadata,
    tenant_column(),
    Column("app_version", Text, nullable=False, comment="X-App-Version of the last answer"),
    instant("since_at", "When an answer first had this version", nullable=False, default=func.now()),
    PrimaryKeyConstraint("tenant"),
    schema=INGEST,
    comment="The release of AMPECO that each tenant runs",
)

deprecated_endpoint = Table(
    "deprecated_endpoint",
    metadata,
    tenant_column(),
    Column("endpoint", Text, nullable=False, comment="Resource with its version, such as users/v1.0"),
    instant("sunset_at", "When AMPECO will remove it; null: it does not say"),
    instant("first_seen_at", "When an answer first said that it is deprecated", nullable=False, default=func.now()),
    instant("last_seen_at", "When an answer last said so", nullable=False, default=func.now()),
    PrimaryKeyConstraint("tenant", "endpoint"),
    schema=INGEST,
    comment="Endpoints that we call and that AMPECO will remove",
)

sync_cursor = Table(
    "sync_cursor",
    metadata,
    tenant_column(),
    Column("kind", Text, nullable=False, comment="Kind of entity whose listing is synced"),
    instant("changed_until", "Every change up to this time of the tenant's clock has been read"),
    instant("full_at", "When the last sync run through the complete listing ended"),
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
    instant("requested_at", "When the backfill that it belongs to was requested; null: it belongs to none"),
    instant("lease_expires_at", "When its lease ends; the process that claimed it renews the lease"),
    instant("retry_at", "Postponed until then, because of the reason in last_error"),
    Column("following", JSONB, comment="Query of the next page; null at the first, and after the last"),
    Column("pages", Integer, nullable=False, server_default=text("0"), comment="Pages read"),
    Column("calls", Integer, nullable=False, server_default=text("0"), comment="Calls made, further reads included"),
    Column("compared", BigInteger, nullable=False, server_default=text("0"), comment="Entities compared"),
    Column("missing", BigInteger, nullable=False, server_default=text("0"), comment="Entities that were not stored"),
    Column(
        "stale",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Entities that were stored in an older state, with no notification or read of them pending",
    ),
    Column("healed", BigInteger, nullable=False, server_default=text("0"), comment="Missing and stale entities healed"),
    Column(
        "absent",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Stored entities that a complete listing did not show; each is read, and a 404 makes its tombstone",
    ),
    Column(
        "unreadable",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="Listed entities that could not be parsed",
    ),
    Column(
        "behind_seconds",
        Numeric,
        comment="Age of the oldest change that was missed, by the tenant's clock, seconds",
    ),
    Column("last_error", Text, comment="Why it is postponed; null while it is not"),
    PrimaryKeyConstraint("tenant", "sync_run_id"),
    Index("sync_run_open_idx", "tenant", "kind", unique=True, postgresql_where=text("finished_at IS NULL")),
    Index("sync_run_finished_idx", "tenant", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    Index("sync_run_request_idx", "tenant", "requested_at", postgresql_where=text("requested_at IS NOT NULL")),
    schema=INGEST,
    comment="Sync runs: each compares a listing with what is stored, and heals the differences",
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
    comment="Ids that an unfinished sync run through a complete listing showed; its end requests reads of all others",
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
        comment="refresh, reconcile, backfill, status_log, consumption, subscription_monitor or manual",
    ),
    Column("calls", BigInteger, nullable=False, server_default=text("0"), comment="Calls made"),
    Column(
        "saved",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Requested reads that needed no call of their own",
    ),
    PrimaryKeyConstraint("tenant", "hour_at", "reason"),
    schema=INGEST,
    comment="Calls of the tenant's API, by hour and reason",
)

consumption_read = Table(
    "consumption_read",
    metadata,
    tenant_column(),
    Column("session_id", BigInteger, nullable=False, comment="Session that finished without meter values"),
    instant("found_at", "When it was found", nullable=False, default=func.now()),
    instant("due_at", "When to read its consumption at the earliest", nullable=False, default=func.now()),
    instant("finished_at", "When it was read, or given up; null while it is still to be read"),
    Column("points", Integer, comment="Points that the read showed; null: not read, or given up"),
    Column("failures", SmallInteger, nullable=False, server_default=text("0"), comment="Reads of it that failed"),
    Column("last_error", Text, comment="Why the last read failed, or why some points could not be read"),
    PrimaryKeyConstraint("tenant", "session_id"),
    Index("consumption_read_due_idx", "tenant", "due_at", postgresql_where=text("finished_at IS NULL")),
    schema=INGEST,
    comment="Sessions without meter values, whose consumption is read once from AMPECO: one row each",
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
