"""A walk that was put off is told from one that a process has in hand, and walks of one backfill from others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"

#: What the comment of lease_expires_at said, and what it says now.
LEASE_COMMENTS = (
    "Until then a process has it in hand",
    "Until then a process has it in hand; renewed while that process lives",
)


def upgrade() -> None:
    op.add_column(
        "walk",
        sa.Column(
            "requested_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the backfill that it belongs to was requested; null: no command asked for it",
        ),
        schema="ingest",
    )
    op.add_column(
        "walk",
        sa.Column(
            "retry_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Put off until then, as AMPECO refused or failed it or asked for a pause; last_error says why",
        ),
        schema="ingest",
    )
    op.create_index(
        "walk_request_idx",
        "walk",
        ["tenant", "requested_at"],
        unique=False,
        schema="ingest",
        postgresql_where=sa.text("requested_at IS NOT NULL"),
    )
    op.execute(f"COMMENT ON COLUMN ingest.walk.lease_expires_at IS '{LEASE_COMMENTS[1]}'")
    # A walk with an error was put off, as one that is taken up has none.
    op.execute("""
        UPDATE ingest.walk
           SET retry_at = lease_expires_at, lease_expires_at = NULL
         WHERE finished_at IS NULL
           AND last_error IS NOT NULL
    """)


def downgrade() -> None:
    op.execute("""
        UPDATE ingest.walk
           SET lease_expires_at = retry_at
         WHERE finished_at IS NULL
           AND last_error IS NOT NULL
    """)
    op.execute(f"COMMENT ON COLUMN ingest.walk.lease_expires_at IS '{LEASE_COMMENTS[0]}'")
    op.drop_index("walk_request_idx", table_name="walk", schema="ingest")
    op.drop_column("walk", "retry_at", schema="ingest")
    op.drop_column("walk", "requested_at", schema="ingest")
