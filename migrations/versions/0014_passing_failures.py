"""Attempts that failed through no fault of the batch are counted apart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

ATTEMPTS_THEN = "How often a worker took it in hand, counted before the work"
ATTEMPTS_NOW = "How often a worker took it in hand, counted before the work; but for failures"


def _comment(was: str, now: str) -> None:
    op.alter_column("batch", "attempts", schema="ingest", comment=now, existing_comment=was)


def upgrade() -> None:
    op.add_column(
        "batch",
        sa.Column(
            "failures",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="How often in a row an attempt failed through no fault of its notifications",
        ),
        schema="ingest",
    )
    _comment(ATTEMPTS_THEN, ATTEMPTS_NOW)


def downgrade() -> None:
    _comment(ATTEMPTS_NOW, ATTEMPTS_THEN)
    op.drop_column("batch", "failures", schema="ingest")
