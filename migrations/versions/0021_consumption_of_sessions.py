"""The consumption of finished sessions whose meter values never arrived, and which sessions were read for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"

_REASONS = "COMMENT ON COLUMN ingest.api_usage.reason IS '{}'"


def _instant(name: str, comment: str, *, nullable: bool = False, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    kind = postgresql.TIMESTAMP(timezone=True)
    return sa.Column(name, kind, server_default=default, nullable=nullable, comment=comment)


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml")


def upgrade() -> None:
    op.execute(_REASONS.format("refresh, reconcile, backfill, status_log, consumption, subscription_monitor or manual"))
    op.create_table(
        "consumption_point",
        _tenant(),
        sa.Column("session_id", sa.BigInteger(), nullable=False, comment="Session without meter values"),
        _instant("measured_at", "Time of the point, as AMPECO shows it"),
        sa.Column("energy_wh", sa.Numeric(), comment="Energy up to then, cumulative, Wh; null: AMPECO shows none"),
        sa.Column("power_w", sa.Numeric(), comment="Power at that time, W; null: AMPECO shows none"),
        _instant("recorded_at", "When it was recorded here", now=True),
        sa.UniqueConstraint(
            "tenant", "session_id", "measured_at", name=op.f("consumption_point_tenant_session_id_measured_at_key")
        ),
        schema="charging",
        comment="Consumption of finished sessions without meter values, from AMPECO's consumption-stats; append-only",
    )
    op.create_table(
        "consumption_read",
        _tenant(),
        sa.Column("session_id", sa.BigInteger(), nullable=False, comment="Session that finished without meter values"),
        _instant("found_at", "When it was found", now=True),
        _instant("due_at", "When to read its consumption at the earliest", now=True),
        _instant("finished_at", "When it was read, or given up; null while it is still to be read", nullable=True),
        sa.Column("points", sa.Integer(), comment="Points that the read showed; null: not read, or given up"),
        sa.Column("failures", sa.SmallInteger(), server_default="0", nullable=False, comment="Reads of it that failed"),
        sa.Column("last_error", sa.Text(), comment="Why the last read failed, or why some points could not be read"),
        sa.PrimaryKeyConstraint("tenant", "session_id", name=op.f("consumption_read_pkey")),
        schema="ingest",
        comment="Sessions without meter values, whose consumption is read once from AMPECO: one row each",
    )
    op.create_index(
        "consumption_read_due_idx",
        "consumption_read",
        ["tenant", "due_at"],
        schema="ingest",
        postgresql_where=sa.text("finished_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("consumption_read", schema="ingest")
    op.drop_table("consumption_point", schema="charging")
    op.execute(_REASONS.format("refresh, reconcile, backfill, status_log, subscription_monitor or manual"))
