-- Drops the oldest day before the given one that was not dropped yet, or of which no failed notification is left. All
-- statements but the last lock nothing that the accept path or the workers need. The last one waits half a second at
-- most for its lock, because the accept path waits behind it.
CREATE OR REPLACE FUNCTION ingest.drop_log_day(keep_from date, OUT day date, OUT became text, OUT kept bigint)
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
    -- The totals still count the outcomes that are deleted here.
    DELETE FROM ingest.outcome
     WHERE state = 'ignored' AND received_at >= began_at AND received_at < ended_at;
    DELETE FROM ingest.batch
     WHERE last_received_at >= began_at AND last_received_at < ended_at
       AND NOT EXISTS (
           SELECT FROM ingest.outcome
            WHERE outcome.tenant = batch.tenant AND outcome.batch_id = batch.batch_id);
    INSERT INTO ingest.dropped_day AS known (day, kept) VALUES (drop_log_day.day, drop_log_day.kept)
        ON CONFLICT ON CONSTRAINT dropped_day_pkey DO UPDATE SET dropped_at = excluded.dropped_at, kept = excluded.kept;
    PERFORM set_config('lock_timeout', '500', true);
    EXECUTE format('DROP TABLE ingest.%I', partition);
    -- A replay may have added or cleared failures since they were copied.
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
