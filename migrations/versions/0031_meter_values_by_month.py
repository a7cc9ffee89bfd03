"""Meter values are partitioned by month, and old months of them can be dropped."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.sql import read_sql

revision = "0031"
down_revision = "0030"

COMMENT = "Each meter sample of a session; append-only. Its whole content identifies a sample"
KEY = "(tenant, session_id, measured_at, measurand, ordinal, unit, value)"

FUNCTIONS = {
    "make_meter_partitions": (
        "integer",
        "Makes the partitions of meter_value from the last month to so many months ahead, where missing",
    ),
    "drop_meter_month": ("timestamptz", "Drops the oldest month of meter values that ended at a time or before"),
}


def upgrade() -> None:
    _partition()
    op.create_table(
        "dropped_month",
        sa.Column(
            "ended_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="The end of the month, in UTC; of the first one also everything before it",
        ),
        sa.Column(
            "dropped_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was dropped",
        ),
        sa.PrimaryKeyConstraint("ended_at", name=op.f("dropped_month_pkey")),
        schema="ingest",
        comment="Months whose meter values were dropped",
    )
    for name, (arguments, comment) in FUNCTIONS.items():
        op.execute(read_sql(f"0031_{name}"))
        op.execute(f"REVOKE ALL ON FUNCTION ingest.{name}({arguments}) FROM PUBLIC")
        op.execute(f"COMMENT ON FUNCTION ingest.{name}({arguments}) IS '{comment}'")


def _partition() -> None:
    """Make the table the first partition of a new one with its name, so that its rows are read once, and not copied.

    The partition ends with this month if there are rows, else with the last one. Later rows move to the default
    partition: charge points may have sent dates that are far in the future.
    """
    op.execute("LOCK TABLE charging.meter_value IN ACCESS EXCLUSIVE MODE")
    month = op.get_bind().execute(
        sa.text("""
            SELECT to_char(
                       date_trunc('month', timezone('UTC', now()))
                       + CASE WHEN EXISTS (SELECT FROM charging.meter_value) THEN interval '1 month'
                              ELSE interval '0' END,
                       'YYYY-MM')
        """)
    )
    ends = month.scalar_one()
    first = f"meter_value_before_{ends.replace('-', '')}"
    bound = f"'{ends}-01 00:00+00'"
    op.execute(f"ALTER TABLE charging.meter_value RENAME CONSTRAINT meter_value_sample_key TO {first}_sample_key")
    op.execute(f"ALTER TABLE charging.meter_value RENAME TO {first}")
    op.execute(
        f"CREATE TABLE charging.meter_value (LIKE charging.{first} INCLUDING COMMENTS,"
        f" CONSTRAINT meter_value_sample_key UNIQUE NULLS NOT DISTINCT {KEY}) PARTITION BY RANGE (measured_at)"
    )
    op.execute(f"COMMENT ON TABLE charging.meter_value IS '{COMMENT}'")
    op.execute("CREATE INDEX meter_value_measured_at_idx ON charging.meter_value USING brin (measured_at)")
    op.execute("CREATE TABLE charging.meter_value_default PARTITION OF charging.meter_value DEFAULT")
    op.execute(
        f"WITH moved AS (DELETE FROM charging.{first} WHERE measured_at >= {bound} RETURNING *)"  # noqa: S608 - ours
        " INSERT INTO charging.meter_value SELECT * FROM moved"
    )
    op.execute(
        f"ALTER TABLE charging.meter_value ATTACH PARTITION charging.{first} FOR VALUES FROM (MINVALUE) TO ({bound})"
    )


def downgrade() -> None:
    for name, (arguments, _) in FUNCTIONS.items():
        op.execute(f"DROP FUNCTION ingest.{name}({arguments})")
    op.drop_table("dropped_month", schema="ingest")
    _gather()


def _gather() -> None:
    """Make one table of the partitions again: if the first one is still there, the others are copied into it."""
    op.execute("LOCK TABLE charging.meter_value IN ACCESS EXCLUSIVE MODE")
    partitions = op.get_bind().execute(
        sa.text("""
            SELECT relname
              FROM pg_inherits
              JOIN pg_class ON pg_class.oid = pg_inherits.inhrelid
             WHERE inhparent = 'charging.meter_value'::regclass
               AND relname ~ '^meter_value_before_[0-9]{6}$'
        """)
    )
    first = partitions.scalar()
    if first is None:
        first = "meter_value_before"
        op.execute(
            f"CREATE TABLE charging.{first} (LIKE charging.meter_value INCLUDING COMMENTS,"
            f" CONSTRAINT {first}_sample_key UNIQUE NULLS NOT DISTINCT {KEY})"
        )
        op.execute(f"COMMENT ON TABLE charging.{first} IS '{COMMENT}'")
    else:
        op.execute(f"ALTER TABLE charging.meter_value DETACH PARTITION charging.{first}")
        op.execute(f"DROP INDEX charging.{first}_measured_at_idx")
    op.execute(f"INSERT INTO charging.{first} SELECT * FROM charging.meter_value")  # noqa: S608 - the names are ours
    op.execute("DROP TABLE charging.meter_value")
    op.execute(f"ALTER TABLE charging.{first} RENAME CONSTRAINT {first}_sample_key TO meter_value_sample_key")
    op.execute(f"ALTER TABLE charging.{first} RENAME TO meter_value")
