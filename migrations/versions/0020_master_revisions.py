"""What master data was before each change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "master_revision",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("kind", sa.Text(), nullable=False, comment="Kind of entity, such as evse"),
        sa.Column("entity_id", sa.BigInteger(), nullable=False, comment="Id at AMPECO"),
        sa.Column(
            "column_group", sa.Text(), nullable=False, comment="Column group that changed: master, boot or presence"
        ),
        sa.Column(
            "fact_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Time of the new fact, by its source's clock",
        ),
        sa.Column(
            "fact_version",
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
        sa.Column("source", sa.Text(), nullable=False, comment="Source of the new fact: notification, read or rebuild"),
        sa.Column(
            "notification_id",
            sa.Uuid(),
            nullable=True,
            comment="The notification that contained the new fact, if one did",
        ),
        sa.Column(
            "recorded_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the change was written",
        ),
        sa.PrimaryKeyConstraint(
            *("tenant", "kind", "entity_id", "fact_at", "column_group", "fact_version"),
            name=op.f("master_revision_pkey"),
        ),
        schema="charging",
        comment="Revisions of master data: each change of a tracked column, and each boot; append-only",
    )
    op.create_index(
        op.f("master_revision_tenant_recorded_at_idx"), "master_revision", ["tenant", "recorded_at"], schema="charging"
    )


def downgrade() -> None:
    op.drop_table("master_revision", schema="charging")
