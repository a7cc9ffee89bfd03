"""What replay pages by, the revisions of stopped sessions, and what AMPECO sends that we do not know."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

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


def downgrade() -> None:
    op.drop_index(
        "outcome_failed_idx", table_name="outcome", schema="ingest", postgresql_where=sa.text("state = 'failed'")
    )
