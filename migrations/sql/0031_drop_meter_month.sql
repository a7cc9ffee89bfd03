-- Drops the oldest month of meter values that ended at a time or before it. A month stays while the log contains a day
-- of it, because a rebuild would bring its meter values back. The last statement waits half a second at most for its
-- lock, because the workers wait behind it. Late or replayed samples of dropped months are in the default partition,
-- and are deleted once the notification that contained them is older as well.
CREATE OR REPLACE FUNCTION ingest.drop_meter_month(keep_from timestamptz, OUT ended_at timestamptz, OUT became text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET "TimeZone" = 'UTC' AS $$
DECLARE
    partition name;
BEGIN
    IF keep_from > now() - interval '62 days' THEN
        RAISE EXCEPTION 'meter values of the last 62 days are never dropped, and % is among them', keep_from;
    END IF;
    IF NOT pg_try_advisory_xact_lock(7406201107) THEN
        RETURN;
    END IF;
    SELECT each.relname, each.until
      INTO partition, ended_at
      FROM (SELECT relname,
                   to_date(right(relname, 6), 'YYYYMM')::timestamptz
                       + CASE WHEN relname ~ '_before_' THEN interval '0' ELSE interval '1 month' END AS until
              FROM pg_inherits
              JOIN pg_class ON pg_class.oid = pg_inherits.inhrelid
             WHERE inhparent = 'charging.meter_value'::regclass
               AND relname ~ '^meter_value_(before_)?[0-9]{6}$') AS each
     WHERE each.until <= keep_from
     ORDER BY each.until
     LIMIT 1;
    IF partition IS NULL THEN
        DELETE FROM charging.meter_value_default AS late
         USING (SELECT max(dropped_month.ended_at) AS at FROM ingest.dropped_month) AS dropped
         WHERE late.measured_at < dropped.at
           AND late.notification_id < (lpad(to_hex((extract(epoch FROM dropped.at) * 1000)::bigint), 12, '0')
                                       || '00000000000000000000')::uuid;
        RETURN;
    END IF;
    IF EXISTS (
        SELECT FROM pg_inherits
          JOIN pg_class ON pg_class.oid = pg_inherits.inhrelid
         WHERE inhparent = 'ingest.notification'::regclass
           AND relname ~ '^notification_[0-9]{8}$'
           AND to_date(right(relname, 8), 'YYYYMMDD') < drop_meter_month.ended_at
           AND NOT EXISTS (
               SELECT FROM ingest.dropped_day WHERE day = to_date(right(relname, 8), 'YYYYMMDD'))) THEN
        became := 'logged';
        RETURN;
    END IF;
    INSERT INTO ingest.dropped_month (ended_at) VALUES (drop_meter_month.ended_at)
        ON CONFLICT DO NOTHING;
    PERFORM set_config('lock_timeout', '500', true);
    EXECUTE format('DROP TABLE charging.%I', partition);
    became := 'dropped';
END
$$
