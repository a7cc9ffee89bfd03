-- Meter values of earlier months are in the first partition, whose name ends in the month where it ends, or, once that
-- was dropped, in the default partition with all other dates. A partition is made beside its parent and then attached,
-- which locks out neither readers nor writers of other months. Only the default partition is locked, for as long as its
-- few rows of the month take to move. Readers wait behind that lock, so this waits for it half a second at most, and the
-- next run tries again.
CREATE OR REPLACE FUNCTION ingest.make_meter_partitions(months_ahead integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET "TimeZone" = 'UTC' AS $$
DECLARE
    this_month CONSTANT timestamptz := date_trunc('month', now());
    first_month text;
    began_at timestamptz;
    ended_at timestamptz;
    partition text;
BEGIN
    IF months_ahead NOT BETWEEN 0 AND 12 THEN
        RAISE EXCEPTION 'months_ahead is %, and must be between 0 and 12', months_ahead;
    END IF;
    PERFORM pg_advisory_xact_lock(7406201107);
    PERFORM set_config('lock_timeout', '500', true);
    SELECT max(right(relname, 6))
      INTO first_month
      FROM pg_inherits
      JOIN pg_class ON pg_class.oid = pg_inherits.inhrelid
     WHERE inhparent = 'charging.meter_value'::regclass
       AND relname ~ '^meter_value_before_[0-9]{6}$';
    FOR ahead IN -1 .. months_ahead LOOP
        began_at := this_month + ahead * interval '1 month';
        ended_at := began_at + interval '1 month';
        partition := 'meter_value_' || to_char(began_at, 'YYYYMM');
        CONTINUE WHEN to_char(began_at, 'YYYYMM') < first_month
                   OR to_regclass('charging.' || partition) IS NOT NULL;
        LOCK TABLE charging.meter_value_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('CREATE TABLE charging.%I (LIKE charging.meter_value INCLUDING ALL)', partition);
        EXECUTE format(
            'WITH moved AS ('
            ' DELETE FROM charging.meter_value_default WHERE measured_at >= %L AND measured_at < %L RETURNING *)'
            ' INSERT INTO charging.%I SELECT * FROM moved', began_at, ended_at, partition);
        EXECUTE format('ALTER TABLE charging.meter_value ATTACH PARTITION charging.%I FOR VALUES FROM (%L) TO (%L)',
                       partition, began_at, ended_at);
    END LOOP;
END
$$
