"""A session is noted once for its findings, however many changes of its EVSE's states concern it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.create_index(
        "finding_due_session_idx",
        "finding_due",
        ["tenant", "entity_id"],
        schema="analytics",
        postgresql_where=sa.text("scope = 'session'"),
    )


def downgrade() -> None:
    op.drop_index("finding_due_session_idx", "finding_due", schema="analytics")
