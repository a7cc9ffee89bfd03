"""Tables of the console: what happened each minute, and what operators did."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, PrimaryKeyConstraint, Table, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB

from storage.schema.tables import instant, metadata, tenant_column
from storage.schema_names import INGEST

minute = Table(
    "minute",
    metadata,
    tenant_column(),
    instant("minute_at", "When the minute began", nullable=False),
    Column("received", Integer, nullable=False, comment="Notifications that were committed in it"),
    Column("commit_ms_p50", Integer, comment="Time from receiving to commit, median of its batches, ms; null: none"),
    Column("commit_ms_p99", Integer, comment="The same, 99th percentile"),
    Column("apply_ms_p50", Integer, comment="Time from commit to applied, median of its batches, ms; null: none"),
    Column("apply_ms_p99", Integer, comment="The same, 99th percentile"),
    Column("pending", Integer, comment="Notifications that were open when it was recorded; null: recorded later"),
    Column("refresh_due", Integer, comment="Reads that were due when it was recorded; null: recorded later"),
    Column("derive_ms", Integer, comment="Age of the oldest change to derive when it was recorded, ms; null: as above"),
    PrimaryKeyConstraint("tenant", "minute_at"),
    schema=INGEST,
    comment="What happened each minute, for the charts of the console; kept for eight days",
)

operator_action = Table(
    "operator_action",
    metadata,
    tenant_column(),
    Column("action_id", Uuid, nullable=False, comment="UUIDv7"),
    Column("actor", Text, nullable=False, comment="User of the console who did it"),
    Column("action", Text, nullable=False, comment="What was done, such as replay or exclude"),
    Column("details", JSONB, nullable=False, comment="What it was done to: the filter or the entity"),
    instant("began_at", "When it began", nullable=False, default=func.now()),
    instant("ended_at", "When it ended; null while it runs, or if its process was killed"),
    Column("affected", BigInteger, comment="How many it affected; null while it runs"),
    Column("error", Text, comment="Why it failed"),
    PrimaryKeyConstraint("tenant", "action_id"),
    Index(None, "began_at"),
    schema=INGEST,
    comment="What operators did in the console: who, when, to what and how many",
)
