"""A body may lose its secrets; the digest of what came stays."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column(
        "notification",
        sa.Column(
            "body_sha256",
            sa.LargeBinary(),
            nullable=True,
            comment="SHA-256 of the body as it came, where the body was changed since: secrets, forgotten people",
        ),
        schema="ingest",
    )
    op.execute(
        "COMMENT ON COLUMN ingest.notification.body IS"
        " 'The request body, byte for byte; where body_sha256 is set, with values blanked'"
    )


def downgrade() -> None:
    op.execute("COMMENT ON COLUMN ingest.notification.body IS 'The request body, byte for byte'")
    op.drop_column("notification", "body_sha256", schema="ingest")
