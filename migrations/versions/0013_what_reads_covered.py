"""For how long each status log was read, and what each page of a whole walk listed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"

#: The statuses with a log, by table.
STATUSES = (("charge_point", "network"), ("charge_point", "hardware"), ("evse", "hardware"))

#: The comment of api_usage.reason, before and after.
REASONS = (
    "refresh, reconcile, backfill, guardian or person",
    "refresh, reconcile, backfill, status_log, guardian or person",
)


def upgrade() -> None:
    for table, status in STATUSES:
        for column in (
            sa.Column(
                f"{status}_covered_from_at",
                postgresql.TIMESTAMP(timezone=True),
                comment=f"The status log was read from then on, up to {status}_log_at",
            ),
            sa.Column(
                f"{status}_log_at",
                postgresql.TIMESTAMP(timezone=True),
                comment=f"Time of the newest {status}_log fact, by its source's clock",
            ),
            sa.Column(
                f"{status}_log_version",
                sa.Text(collation="C"),
                comment=f"Orders {status}_log facts of equal time",
            ),
            sa.Column(
                f"{status}_log_contested",
                sa.Boolean(),
                nullable=False,
                server_default=sa.text("false"),
                comment=f"Different {status}_log facts carry {status}_log_at; a read will settle it",
            ),
        ):
            op.add_column(table, column, schema="charging")
    op.create_table(
        "walk_page",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("walk_id", sa.Uuid(), nullable=False, comment="The walk"),
        sa.Column("page", sa.Integer(), nullable=False, comment="Number of the page, from 1"),
        sa.Column(
            "entity_ids",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=False,
            comment="Ids of the entities that it listed",
        ),
        sa.PrimaryKeyConstraint("tenant", "walk_id", "page", name="walk_page_pkey"),
        schema="ingest",
        comment="What the pages of an unfinished walk through a whole listing showed; all else is read at its end",
    )
    _comment(REASONS[1])


def downgrade() -> None:
    _comment(REASONS[0])
    op.drop_table("walk_page", schema="ingest")
    for table, status in STATUSES:
        for column in (
            f"{status}_covered_from_at",
            *(f"{status}_log_{name}" for name in ("at", "version", "contested")),
        ):
            op.drop_column(table, column, schema="charging")


def _comment(reasons: str) -> None:
    op.execute(f"COMMENT ON COLUMN ingest.api_usage.reason IS '{reasons}'")
