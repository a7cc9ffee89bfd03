"""Running totals of what became of notifications, and days of the log that are dropped."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.sql import read_sql

revision = "0008"
down_revision = "0007"

TRIGGERS = (
    ("insert", "INSERT", "NEW TABLE AS added"),
    ("update", "UPDATE", "OLD TABLE AS removed NEW TABLE AS added"),
    ("delete", "DELETE", "OLD TABLE AS removed"),
)

#: What came before totals were kept.
COUNT_ONCE = """
INSERT INTO ingest.total (tenant, settled, ignored, failed)
SELECT tenant, coalesce(settled, 0), coalesce(ignored, 0), coalesce(failed, 0)
  FROM (SELECT tenant, sum(notifications) AS settled FROM ingest.batch WHERE applied_at IS NOT NULL GROUP BY tenant)
       AS batches
  FULL JOIN (SELECT tenant,
                    count(*) FILTER (WHERE state = 'ignored') AS ignored,
                    count(*) FILTER (WHERE state = 'failed') AS failed
               FROM ingest.outcome
              GROUP BY tenant) AS outcomes USING (tenant)
"""


def upgrade() -> None:
    op.create_table(
        "total",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column(
            "settled",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Notifications of closed batches, whatever became of each",
        ),
        sa.Column(
            "ignored",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Those of them that were ignored, and not applied since",
        ),
        sa.Column(
            "failed",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Those of them that failed, and were not applied since",
        ),
        sa.PrimaryKeyConstraint("tenant", name=op.f("total_pkey")),
        schema="ingest",
        comment="Running totals of what became of notifications; what was dropped from the log is in them",
    )
    op.create_table(
        "dropped_day",
        sa.Column("day", sa.Date(), nullable=False, comment="The day, in UTC"),
        sa.Column(
            "dropped_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was dropped",
        ),
        sa.Column("kept", sa.BigInteger(), nullable=False, comment="Failed notifications of it that were kept"),
        sa.PrimaryKeyConstraint("day", name=op.f("dropped_day_pkey")),
        schema="ingest",
        comment="Days that were dropped from the log, but for what failed",
    )
    op.execute(COUNT_ONCE)
    op.execute(read_sql("0008_count_outcomes"))
    for name, event, transition in TRIGGERS:
        op.execute(
            f"CREATE TRIGGER count_{name} AFTER {event} ON ingest.outcome REFERENCING {transition}"
            " FOR EACH STATEMENT EXECUTE FUNCTION ingest.count_outcomes()"
        )
    op.execute("COMMENT ON FUNCTION ingest.count_outcomes() IS 'Keeps ingest.total with ingest.outcome'")
    op.execute(read_sql("0008_drop_log_day"))
    op.execute("REVOKE ALL ON FUNCTION ingest.drop_log_day(date) FROM PUBLIC")
    op.execute(
        "COMMENT ON FUNCTION ingest.drop_log_day(date)"
        " IS 'Drops the oldest settled day of the log before the given one, but for what failed'"
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION ingest.drop_log_day(date)")
    for name, _event, _transition in TRIGGERS:
        op.execute(f"DROP TRIGGER count_{name} ON ingest.outcome")
    op.execute("DROP FUNCTION ingest.count_outcomes()")
    op.drop_table("dropped_day", schema="ingest")
    op.drop_table("total", schema="ingest")
