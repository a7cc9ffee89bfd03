"""Running totals of what became of notifications, and days of the log that are dropped."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

#: One row for a tenant, changed by every statement that sets a notification aside, or takes it back.
#: Dropping a day takes ignored ones out of the log, and leaves them in the totals.
COUNT_OUTCOMES = """
CREATE FUNCTION ingest.count_outcomes() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('ingest.dropping_log', true) = 'yes' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO ingest.total AS known (tenant, ignored, failed)
        SELECT tenant, count(*) FILTER (WHERE state = 'ignored'), count(*) FILTER (WHERE state = 'failed')
          FROM added
         GROUP BY tenant
            ON CONFLICT (tenant) DO UPDATE SET
               ignored = known.ignored + excluded.ignored,
               failed = known.failed + excluded.failed;
    ELSIF TG_OP = 'DELETE' THEN
        UPDATE ingest.total AS known
           SET ignored = known.ignored - gone.ignored,
               failed = known.failed - gone.failed
          FROM (SELECT tenant,
                       count(*) FILTER (WHERE state = 'ignored') AS ignored,
                       count(*) FILTER (WHERE state = 'failed') AS failed
                  FROM removed
                 GROUP BY tenant) AS gone
         WHERE known.tenant = gone.tenant;
    ELSE
        UPDATE ingest.total AS known
           SET ignored = known.ignored + changed.ignored,
               failed = known.failed + changed.failed
          FROM (SELECT tenant,
                       coalesce(sum(one) FILTER (WHERE state = 'ignored'), 0) AS ignored,
                       coalesce(sum(one) FILTER (WHERE state = 'failed'), 0) AS failed
                  FROM (SELECT tenant, state, 1 AS one FROM added
                         UNION ALL
                        SELECT tenant, state, -1 FROM removed) AS both_ways
                 GROUP BY tenant) AS changed
         WHERE known.tenant = changed.tenant
           AND (changed.ignored, changed.failed) <> (0, 0);
    END IF;
    RETURN NULL;
END
$$
"""

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

#: The oldest day that is before the given one, and not dropped yet, or of which nothing failed is left.
#: All but the last statements lock nothing that those who accept or apply want; that lock is waited for
#: half a second at most, as those who accept wait behind it.
DROP_LOG_DAY = """
CREATE FUNCTION ingest.drop_log_day(keep_from date, OUT day date, OUT became text, OUT kept bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    partition name;
    keeping name;
    began_at timestamptz;
    ended_at timestamptz;
BEGIN
    IF keep_from > (now() AT TIME ZONE 'UTC')::date - 7 THEN
        RAISE EXCEPTION 'the last seven days of the log are never dropped, and % is among them', keep_from - 1;
    END IF;
    IF NOT pg_try_advisory_xact_lock(7406201105) THEN
        RETURN;
    END IF;
    SELECT relname, to_date(right(relname, 8), 'YYYYMMDD')
      INTO partition, day
      FROM pg_inherits
      JOIN pg_class ON pg_class.oid = pg_inherits.inhrelid
     WHERE inhparent = 'ingest.notification'::regclass
       AND relname ~ '^notification_[0-9]{8}$'
       AND to_date(right(relname, 8), 'YYYYMMDD') < keep_from
       AND (NOT EXISTS (
            SELECT FROM ingest.dropped_day
             WHERE dropped_day.day = to_date(right(relname, 8), 'YYYYMMDD'))
        OR NOT EXISTS (
            SELECT FROM ingest.outcome
             WHERE outcome.state = 'failed'
               AND (outcome.received_at AT TIME ZONE 'UTC')::date = to_date(right(relname, 8), 'YYYYMMDD')))
     ORDER BY relname
     LIMIT 1;
    IF day IS NULL THEN
        RETURN;
    END IF;
    began_at := day::timestamp AT TIME ZONE 'UTC';
    ended_at := (day + 1)::timestamp AT TIME ZONE 'UTC';
    IF EXISTS (SELECT FROM ingest.batch WHERE applied_at IS NULL AND first_received_at < ended_at) THEN
        became := 'open';
        RETURN;
    END IF;
    keeping := partition || '_failed';
    EXECUTE format('CREATE TABLE ingest.%I (LIKE ingest.notification INCLUDING ALL)', keeping);
    EXECUTE format(
        'INSERT INTO ingest.%I SELECT logged.* FROM ingest.%I AS logged'
        ' JOIN ingest.outcome USING (tenant, received_at, notification_id) WHERE outcome.state = %L',
        keeping, partition, 'failed');
    GET DIAGNOSTICS kept = ROW_COUNT;
    -- The totals go on counting what goes here, and their rows are left to those who apply.
    PERFORM set_config('ingest.dropping_log', 'yes', true);
    DELETE FROM ingest.outcome
     WHERE state = 'ignored' AND received_at >= began_at AND received_at < ended_at;
    PERFORM set_config('ingest.dropping_log', '', true);
    DELETE FROM ingest.batch
     WHERE last_received_at >= began_at AND last_received_at < ended_at
       AND NOT EXISTS (
           SELECT FROM ingest.outcome
            WHERE outcome.tenant = batch.tenant AND outcome.batch_id = batch.batch_id);
    INSERT INTO ingest.dropped_day AS known (day, kept) VALUES (drop_log_day.day, drop_log_day.kept)
        ON CONFLICT ON CONSTRAINT dropped_day_pkey DO UPDATE SET dropped_at = now(), kept = excluded.kept;
    PERFORM set_config('lock_timeout', '500', true);
    EXECUTE format('DROP TABLE ingest.%I', partition);
    -- A replay may have met a failure, or mended one, since they were copied.
    IF kept <> (SELECT count(*) FROM ingest.outcome
                 WHERE state = 'failed' AND received_at >= began_at AND received_at < ended_at) THEN
        RAISE EXCEPTION 'what failed on % changed while that day was being dropped: it stays until the next run', day
              USING ERRCODE = 'serialization_failure';
    END IF;
    IF kept > 0 THEN
        EXECUTE format('ALTER TABLE ingest.%I RENAME TO %I', keeping, partition);
        EXECUTE format('ALTER TABLE ingest.notification ATTACH PARTITION ingest.%I FOR VALUES FROM (%L) TO (%L)',
                       partition, began_at, ended_at);
    ELSE
        EXECUTE format('DROP TABLE ingest.%I', keeping);
    END IF;
    became := 'dropped';
END
$$
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
    op.execute(COUNT_OUTCOMES)
    for name, event, transition in TRIGGERS:
        op.execute(
            f"CREATE TRIGGER count_{name} AFTER {event} ON ingest.outcome REFERENCING {transition}"
            " FOR EACH STATEMENT EXECUTE FUNCTION ingest.count_outcomes()"
        )
    op.execute("COMMENT ON FUNCTION ingest.count_outcomes() IS 'Keeps ingest.total with ingest.outcome'")
    op.execute(DROP_LOG_DAY)
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
