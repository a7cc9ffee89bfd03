"""What replay pages by, the revisions of stopped sessions, and what AMPECO sends that we do not know."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.sql import read_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index(
        "outcome_failed_idx",
        "outcome",
        ["tenant", "received_at", "notification_id"],
        schema="ingest",
        postgresql_where=sa.text("state = 'failed'"),
    )
    op.create_table(
        "session_revision",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("session_id", sa.BigInteger(), nullable=False, comment="Session"),
        sa.Column(
            "column_group",
            sa.Text(),
            nullable=False,
            comment="Group of columns that changed: state, detail, meter, presence",
        ),
        sa.Column(
            "told_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Time of the new fact, by its source's clock",
        ),
        sa.Column(
            "told_version",
            sa.Text(collation="C"),
            nullable=False,
            comment="Version of the new fact; orders those of one time",
        ),
        sa.Column(
            "changed_from",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The columns that changed, with their former values",
        ),
        sa.Column(
            "changed_to",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The same columns, with their new values",
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="What told us: notification, read or rebuild"),
        sa.Column("notification_id", sa.Uuid(), nullable=True, comment="The notification that told, where one did"),
        sa.Column(
            "learned_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When we learned it",
        ),
        sa.PrimaryKeyConstraint(
            "tenant", "session_id", "column_group", "told_at", "told_version", name=op.f("session_revision_pkey")
        ),
        schema="charging",
        comment="Each change of a session that we knew to have stopped; append-only",
    )
    op.create_index(
        op.f("session_revision_tenant_learned_at_idx"), "session_revision", ["tenant", "learned_at"], schema="charging"
    )
    op.create_table(
        "drift",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("what", sa.Text(), nullable=False, comment="type: of notification; field: of a model"),
        sa.Column(
            "model", sa.Text(), nullable=False, comment="What the field came with, such as Session; empty for a type"
        ),
        sa.Column(
            "name",
            sa.Text(),
            nullable=False,
            comment="Its name; * for names that cannot be shown or are too many",
        ),
        sa.Column("times", sa.BigInteger(), nullable=False, comment="How often it was seen"),
        sa.Column(
            "first_seen_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When it was first received",
        ),
        sa.Column(
            "last_seen_at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="When it was last received"
        ),
        sa.Column(
            "shape",
            sa.Text(),
            nullable=True,
            comment="JSON type, and of an object its keys with their types; never a value",
        ),
        sa.Column(
            "notification_id",
            sa.Uuid(),
            nullable=True,
            comment="The first notification that carried it; null where a read did",
        ),
        sa.PrimaryKeyConstraint("tenant", "what", "model", "name", name=op.f("drift_pkey")),
        schema="ingest",
        comment="Types and fields that AMPECO sends and this release does not know, at most 50 of each model",
    )
    op.execute(read_sql("0004_session_as_known_at"))
    op.execute(
        "COMMENT ON FUNCTION charging.session_as_known_at(text, timestamptz)"
        " IS 'The sessions of a tenant as we knew them at a time; of running ones, as they were when they stopped'"
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION charging.session_as_known_at(text, timestamptz)")
    op.drop_table("drift", schema="ingest")
    op.drop_index(op.f("session_revision_tenant_learned_at_idx"), table_name="session_revision", schema="charging")
    op.drop_table("session_revision", schema="charging")
    op.drop_index(
        "outcome_failed_idx", table_name="outcome", schema="ingest", postgresql_where=sa.text("state = 'failed'")
    )
