"""Tables of the console, and statistics of tables that a round of deriving has filled."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.sql import read_sql

revision = "0029"
down_revision = "0028"


def _instant(name: str, comment: str, *, nullable: bool = True, is_now: bool = False) -> sa.Column[Any]:
    default = sa.text("now()") if is_now else None
    return sa.Column(
        name, postgresql.TIMESTAMP(timezone=True), nullable=nullable, server_default=default, comment=comment
    )


def upgrade() -> None:
    op.execute(read_sql("0029_refresh_statistics"))
    op.execute("REVOKE ALL ON FUNCTION analytics.refresh_statistics() FROM PUBLIC")
    op.create_table(
        "minute",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        _instant("minute_at", "When the minute began", nullable=False),
        sa.Column("received", sa.Integer(), nullable=False, comment="Notifications that were committed in it"),
        sa.Column(
            "commit_ms_p50",
            sa.Integer(),
            comment="Time from receiving to commit, median of its batches, ms; null: none",
        ),
        sa.Column("commit_ms_p99", sa.Integer(), comment="The same, 99th percentile"),
        sa.Column(
            "apply_ms_p50",
            sa.Integer(),
            comment="Time from commit to applied, median of its batches, ms; null: none",
        ),
        sa.Column("apply_ms_p99", sa.Integer(), comment="The same, 99th percentile"),
        sa.Column(
            "pending",
            sa.Integer(),
            comment="Notifications that were open when it was recorded; null: recorded later",
        ),
        sa.Column(
            "refresh_due", sa.Integer(), comment="Reads that were due when it was recorded; null: recorded later"
        ),
        sa.Column(
            "derive_ms",
            sa.Integer(),
            comment="Age of the oldest change to derive when it was recorded, ms; null: as above",
        ),
        sa.PrimaryKeyConstraint("tenant", "minute_at", name=op.f("minute_pkey")),
        schema="ingest",
        comment="What happened each minute, for the charts of the console; kept for eight days",
    )
    op.create_table(
        "operator_action",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("action_id", sa.Uuid(), nullable=False, comment="UUIDv7"),
        sa.Column("actor", sa.Text(), nullable=False, comment="User of the console who did it"),
        sa.Column("action", sa.Text(), nullable=False, comment="What was done, such as replay or exclude"),
        sa.Column(
            "details",
            postgresql.JSONB(),
            nullable=False,
            comment="What it was done to: the filter or the entity",
        ),
        _instant("began_at", "When it began", nullable=False, is_now=True),
        _instant("ended_at", "When it ended; null while it runs, or if its process was killed"),
        sa.Column("affected", sa.BigInteger(), comment="How many it affected; null while it runs"),
        sa.Column("error", sa.Text(), comment="Why it failed"),
        sa.PrimaryKeyConstraint("tenant", "action_id", name=op.f("operator_action_pkey")),
        sa.Index("operator_action_began_at_idx", "began_at"),
        schema="ingest",
        comment="What operators did in the console: who, when, to what and how many",
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION analytics.refresh_statistics()")
    op.drop_table("operator_action", schema="ingest")
    op.drop_table("minute", schema="ingest")
