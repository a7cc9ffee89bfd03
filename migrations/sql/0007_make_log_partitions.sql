-- Yesterday's is among them because a receiver's clock may be behind at midnight. A partition is
-- made beside its parent and then attached, which does not lock out readers or writers as
-- CREATE TABLE ... PARTITION OF would. The lock serialises those who make them.
CREATE OR REPLACE FUNCTION ingest.make_log_partitions(days_ahead integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today CONSTANT date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    partition text;
BEGIN
    IF days_ahead NOT BETWEEN 0 AND 31 THEN
        RAISE EXCEPTION 'days_ahead is %, and must be between 0 and 31', days_ahead;
    END IF;
    PERFORM pg_advisory_xact_lock(7406201100);
    FOR ahead IN -1 .. days_ahead LOOP
        day := today + ahead;
        partition := 'notification_' || to_char(day, 'YYYYMMDD');
        IF to_regclass('ingest.' || partition) IS NULL THEN
            EXECUTE format('CREATE TABLE ingest.%I (LIKE ingest.notification INCLUDING ALL)', partition);
            EXECUTE format(
                'ALTER TABLE ingest.notification ATTACH PARTITION ingest.%I FOR VALUES FROM (%L) TO (%L)',
                partition, to_char(day, 'YYYY-MM-DD 00:00+00'), to_char(day + 1, 'YYYY-MM-DD 00:00+00'));
        END IF;
    END LOOP;
END
$$
