"""The keys of drivers, their visits, and what finds the sessions whose master data changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.sql import read_sql

revision = "0025"
down_revision = "0024"

#: What sessions name and is read later than they are.
NAMED = ("connector_id", "tariff_snapshot_id")


def upgrade() -> None:
    op.create_table(
        "driver_secret",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column(
            "secret", sa.LargeBinary(), nullable=False, comment="Random secret of the digests in driver_key, 32 bytes"
        ),
        sa.PrimaryKeyConstraint("tenant", name=op.f("driver_secret_pkey")),
        schema="ingest",
        comment="The secret with which analytics makes driver_key of a user's id; analysts cannot read it",
    )
    op.create_table(
        "authorization_session",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("authorization_id", sa.BigInteger(), nullable=False, comment="Authorization"),
        sa.Column("session_id", sa.BigInteger(), nullable=False, comment="Session"),
        sa.Column(
            "named_by", sa.Text(), nullable=False, comment="Which of them names the other: authorization or session"
        ),
        sa.PrimaryKeyConstraint(
            "tenant", "authorization_id", "session_id", "named_by", name=op.f("authorization_session_pkey")
        ),
        schema="analytics",
        comment="Which authorizations and sessions name each other; no part of the contract",
    )
    op.create_index(
        op.f("authorization_session_tenant_session_id_idx"),
        "authorization_session",
        ["tenant", "session_id"],
        schema="analytics",
    )
    for column in NAMED:
        op.create_index(op.f(f"session_tenant_{column}_idx"), "session", ["tenant", column], schema="charging")
    op.execute(read_sql("0025_visit"))


def downgrade() -> None:
    op.execute("DROP VIEW analytics.visit")
    for column in NAMED:
        op.drop_index(op.f(f"session_tenant_{column}_idx"), "session", schema="charging")
    op.drop_table("authorization_session", schema="analytics")
    op.drop_table("driver_secret", schema="ingest")
