"""Findings are evaluated after the entities are derived; statistics of all tables that deriving reads are refreshed."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.sql import read_sql

revision = "0032"
down_revision = "0031"

SCHEMA = "analytics"

FINDINGS_UNTIL = "The findings of everything that was derived before have been evaluated"


def _instant(name: str, comment: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=nullable, comment=comment)


def upgrade() -> None:
    op.create_table(
        "finding_due",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column(
            "due_id",
            sa.BigInteger(),
            sa.Identity(always=True),
            nullable=False,
            comment="Order in which they were noted",
        ),
        sa.Column(
            "scope",
            sa.Text(),
            nullable=False,
            comment="What is evaluated: session, use, state, outage or location",
        ),
        sa.Column("entity_id", sa.BigInteger(), nullable=False, comment="Id of the session, the location or the EVSE"),
        _instant("evaluated_since", "Findings from then on are evaluated; null: from the beginning"),
        _instant("evaluated_until", "Findings until then are evaluated; null: without an end"),
        _instant("noted_at", "When the change that may make or resolve findings was derived", nullable=False),
        sa.PrimaryKeyConstraint("tenant", "due_id", name=op.f("finding_due_pkey")),
        schema=SCHEMA,
        comment="Entities whose findings are to be evaluated again; a row goes when they are",
    )
    # Rows come and go all the time, as those of analytics.dirty.
    op.execute(
        f"ALTER TABLE {SCHEMA}.finding_due"
        " SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)"
    )
    op.execute(read_sql("0032_refresh_statistics"))
    op.execute(read_sql("0032_freshness"))
    op.execute(f"COMMENT ON COLUMN {SCHEMA}.freshness.findings_until IS '{FINDINGS_UNTIL}'")


def downgrade() -> None:
    # Columns of a view are only added; one goes with the view, so its comments are lost until it is made again.
    op.execute(f"DROP VIEW {SCHEMA}.freshness")
    op.execute(read_sql("0028_freshness"))
    op.execute(f"DROP FUNCTION {SCHEMA}.refresh_statistics()")
    op.execute(read_sql("0029_refresh_statistics"))
    op.execute(f"REVOKE ALL ON FUNCTION {SCHEMA}.refresh_statistics() FROM PUBLIC")
    op.drop_table("finding_due", schema=SCHEMA)
