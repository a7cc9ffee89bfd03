"""The owner's function makes the log's partitions, so that the service needs no right to make a table."""

from __future__ import annotations

from alembic import op

from migrations.sql import read_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(read_sql("0007_make_log_partitions"))
    op.execute("REVOKE ALL ON FUNCTION ingest.make_log_partitions(integer) FROM PUBLIC")
    op.execute(
        "COMMENT ON FUNCTION ingest.make_log_partitions(integer)"
        " IS 'Makes the partitions of the log from yesterday to so many days ahead, where missing'"
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION ingest.make_log_partitions(integer)")
