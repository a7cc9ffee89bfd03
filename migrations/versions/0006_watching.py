"""Watching: our subscriptions, our own presence, each tenant's rhythm, and its tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "arrival",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column(
            "hour_at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="The hour, from its beginning"
        ),
        sa.Column("notifications", sa.BigInteger(), nullable=False, comment="How many were received in it"),
        sa.PrimaryKeyConstraint("tenant", "hour_at", name=op.f("arrival_pkey")),
        schema="ingest",
        comment="Notifications by the hour; an hour without any has no row",
    )
    op.create_table(
        "resend",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("resend_id", sa.Uuid(), nullable=False, comment="UUIDv7"),
        sa.Column(
            "callback_url",
            sa.Text(),
            nullable=False,
            comment="Of the subscription whose failed notifications are wanted",
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="outage, or person where somebody typed the command"),
        sa.Column(
            "since_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Failed notifications from then on, by our clock; null: from the first",
        ),
        sa.Column(
            "state",
            sa.Text(),
            server_default=sa.text("'waiting'"),
            nullable=False,
            comment="waiting, asked (AMPECO accepted) or failed (it never will)",
        ),
        sa.Column(
            "wanted_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was first wanted",
        ),
        sa.Column(
            "due_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="AMPECO is not to be asked before",
        ),
        sa.Column(
            "tried_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When AMPECO was last asked, noted before the call",
        ),
        sa.Column(
            "attempts", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="How often AMPECO was asked"
        ),
        sa.Column("error", sa.Text(), nullable=True, comment="What AMPECO answered last, where it did not accept"),
        sa.PrimaryKeyConstraint("tenant", "resend_id", name=op.f("resend_pkey")),
        schema="ingest",
        comment="Requests that AMPECO send its failed notifications again: at most one waits for a subscription",
    )
    op.create_index(
        "resend_waiting_idx",
        "resend",
        ["tenant", "callback_url"],
        unique=True,
        schema="ingest",
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "rhythm",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column(
            "looked_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When arrivals were last counted and judged",
        ),
        sa.Column(
            "last_received_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When its last notification came, as of looked_at",
        ),
        sa.Column(
            "learned_hours",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Hours that the rhythm is made of",
        ),
        sa.Column(
            "telling",
            sa.Numeric(),
            nullable=True,
            comment="Where so many notifications are expected, their absence tells; null: nothing",
        ),
        sa.Column(
            "judged_hours",
            sa.Integer(),
            nullable=True,
            comment="Length of the stretch that was judged, hours; null: none tells anything",
        ),
        sa.Column("expected", sa.Numeric(), nullable=True, comment="Notifications expected in it"),
        sa.Column("came", sa.BigInteger(), nullable=True, comment="Notifications that came in it"),
        sa.PrimaryKeyConstraint("tenant", name=op.f("rhythm_pkey")),
        schema="ingest",
        comment="How each tenant was last judged against its own rhythm",
    )
    op.create_table(
        "silence",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column(
            "began_at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="From when on too little came"
        ),
        sa.Column(
            "noticed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When that was noticed",
        ),
        sa.Column(
            "ended_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When enough came again; null while it lasts",
        ),
        sa.Column("expected", sa.Numeric(), nullable=False, comment="Notifications expected until it was noticed"),
        sa.Column("came", sa.BigInteger(), nullable=False, comment="Notifications that came until it was noticed"),
        sa.PrimaryKeyConstraint("tenant", "began_at", name=op.f("silence_pkey")),
        schema="ingest",
        comment="When a tenant was quieter than its own rhythm",
    )
    op.create_index(
        "silence_open_idx",
        "silence",
        ["tenant"],
        unique=True,
        schema="ingest",
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "subscription",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("callback_url", sa.Text(), nullable=False, comment="The address that AMPECO calls for it"),
        sa.Column("subscription_id", sa.BigInteger(), nullable=False, comment="Its id at AMPECO, as last seen"),
        sa.Column(
            "claimed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When `subscribe` made it ours",
        ),
        sa.Column(
            "checked_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was last looked at, whether AMPECO answered or not",
        ),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="sound, wrong (finding says what) or unknown (error says why)"
        ),
        sa.Column("finding", sa.Text(), nullable=True, comment="What is wrong with it and was not mended"),
        sa.Column("error", sa.Text(), nullable=True, comment="Why the last look failed"),
        sa.Column(
            "repairs", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="How often it was mended"
        ),
        sa.Column("repaired_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="When it was last mended"),
        sa.Column("last_repair", sa.Text(), nullable=True, comment="What was mended last"),
        sa.PrimaryKeyConstraint("tenant", "callback_url", name=op.f("subscription_pkey")),
        schema="ingest",
        comment="Subscriptions that are ours, as `subscribe` made them, and how the guardian last found them",
    )
    op.create_table(
        "token_use",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column(
            "token_id", sa.Text(), nullable=False, comment="The token, as in ingest.notification; not the token itself"
        ),
        sa.Column(
            "known_since_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was first found in tenants.toml",
        ),
        sa.Column(
            "last_used_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the last notification that it verified came; null: none did since it is known",
        ),
        sa.Column(
            "looked_until_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Notifications up to then were looked at",
        ),
        sa.PrimaryKeyConstraint("tenant", "token_id", name=op.f("token_use_pkey")),
        schema="ingest",
        comment="When each configured token was last used to sign a notification",
    )
    op.create_table(
        "uptime",
        sa.Column(
            "began_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When a receiver was first alive again",
        ),
        sa.Column(
            "last_beat_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When one was last alive and could write",
        ),
        sa.PrimaryKeyConstraint("began_at", name=op.f("uptime_pkey")),
        schema="ingest",
        comment="Stretches of time in which some receiver was alive and could write; between two of them none was",
    )


def downgrade() -> None:
    op.drop_table("uptime", schema="ingest")
    op.drop_table("token_use", schema="ingest")
    op.drop_table("subscription", schema="ingest")
    op.drop_index(
        "silence_open_idx", table_name="silence", schema="ingest", postgresql_where=sa.text("ended_at IS NULL")
    )
    op.drop_table("silence", schema="ingest")
    op.drop_table("rhythm", schema="ingest")
    op.drop_index(
        "resend_waiting_idx", table_name="resend", schema="ingest", postgresql_where=sa.text("state = 'waiting'")
    )
    op.drop_table("resend", schema="ingest")
    op.drop_table("arrival", schema="ingest")
