"""Walks through the listings, how far they have come, and the API budget."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "api_usage",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column(
            "hour_at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="The hour, from its beginning"
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="refresh, reconcile, backfill, guardian or person"),
        sa.Column("calls", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Calls made"),
        sa.Column(
            "saved",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Reads asked for that needed no call of their own",
        ),
        sa.PrimaryKeyConstraint("tenant", "hour_at", "reason", name=op.f("api_usage_pkey")),
        schema="ingest",
        comment="Calls of the tenant's API, by hour and reason",
    )
    op.create_table(
        "walk",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("walk_id", sa.Uuid(), nullable=False, comment="UUIDv7"),
        sa.Column("kind", sa.Text(), nullable=False, comment="Kind of entity whose listing is walked"),
        sa.Column("purpose", sa.Text(), nullable=False, comment="backfill or reconcile"),
        sa.Column(
            "changed_since",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Only what changed at this time of the tenant's clock or later; null: everything",
        ),
        sa.Column(
            "began_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the first page was read, by the tenant's clock",
        ),
        sa.Column(
            "started_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the walk was begun",
        ),
        sa.Column(
            "moved_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When its last page was stored",
        ),
        sa.Column(
            "finished_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When its last page was stored; null while there is more to read",
        ),
        sa.Column(
            "lease_expires_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Until then a process has it in hand",
        ),
        sa.Column(
            "following",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Query of the next page; null at the first, and after the last",
        ),
        sa.Column("pages", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="Pages read"),
        sa.Column(
            "calls",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Calls made, further reads included",
        ),
        sa.Column(
            "compared", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Entities compared"
        ),
        sa.Column(
            "missing",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Those that we did not know",
        ),
        sa.Column(
            "stale",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Those of which we knew an older state, with no notification or read of it under way",
        ),
        sa.Column(
            "healed",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Missing and stale ones mended",
        ),
        sa.Column(
            "absent",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Those we know that a whole listing does not show; each is read, and a 404 makes it deleted",
        ),
        sa.Column(
            "unreadable",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Listed, and not to be understood",
        ),
        sa.Column(
            "behind_seconds",
            sa.Numeric(),
            nullable=True,
            comment="Age of the oldest change that was missed, by the tenant's clock, seconds",
        ),
        sa.Column("last_error", sa.Text(), nullable=True, comment="Why it does not go on, while it does not"),
        sa.PrimaryKeyConstraint("tenant", "walk_id", name=op.f("walk_pkey")),
        schema="ingest",
        comment="Each walk through a listing, to compare the tenant with what we know and to heal the differences",
    )
    op.create_index(
        "walk_open_idx",
        "walk",
        ["tenant", "kind"],
        unique=True,
        schema="ingest",
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.add_column(
        "refresh_request",
        sa.Column(
            "priority",
            sa.SmallInteger(),
            server_default=sa.text("5"),
            nullable=False,
            comment="The lower, the sooner: 0 a running session or a faulted EVSE",
        ),
        schema="ingest",
    )
    op.alter_column(
        "refresh_request",
        "marked_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="When it was first asked for since its last read",
        existing_comment="When it was last asked for",
        existing_nullable=False,
        existing_server_default=sa.text("now()"),
        schema="ingest",
    )
    # Nothing was ever written to it.
    op.drop_table("sync_cursor", schema="ingest")
    op.create_table(
        "sync_cursor",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("kind", sa.Text(), nullable=False, comment="Kind of entity whose listing is walked"),
        sa.Column(
            "changed_until",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Every change up to this time of the tenant's clock has been read",
        ),
        sa.Column(
            "whole_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the last walk through the whole listing ended",
        ),
        sa.Column(
            "checked_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the last walk ended",
        ),
        sa.PrimaryKeyConstraint("tenant", "kind", name=op.f("sync_cursor_pkey")),
        schema="ingest",
        comment="How far each kind of entity has been reconciled with the tenant",
    )


def downgrade() -> None:
    op.drop_table("sync_cursor", schema="ingest")
    op.create_table(
        "sync_cursor",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("listing", sa.Text(), nullable=False, comment="Listing of the API that is walked"),
        sa.Column("cursor", sa.Text(), nullable=True, comment="AMPECO's cursor of the next page of an unfinished walk"),
        sa.Column(
            "changed_until",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Every change up to this time of the tenant's clock has been seen",
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the walk last moved",
        ),
        sa.PrimaryKeyConstraint("tenant", "listing", name=op.f("sync_cursor_pkey")),
        schema="ingest",
        comment="How far each walk through a listing has come",
    )
    op.alter_column(
        "refresh_request",
        "marked_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="When it was last asked for",
        existing_comment="When it was first asked for since its last read",
        existing_nullable=False,
        existing_server_default=sa.text("now()"),
        schema="ingest",
    )
    op.drop_column("refresh_request", "priority", schema="ingest")
    op.drop_index("walk_open_idx", table_name="walk", schema="ingest", postgresql_where=sa.text("finished_at IS NULL"))
    op.drop_table("walk", schema="ingest")
    op.drop_table("api_usage", schema="ingest")
