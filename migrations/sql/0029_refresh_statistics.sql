-- A round may write most of a table in one transaction, which autovacuum sees only when it ends: plans that count on an
-- empty table would then read it again for each of its rows. ANALYZE needs the owner of the tables, as whom this runs.
CREATE FUNCTION analytics.refresh_statistics() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    grown regclass;
BEGIN
    FOR grown IN
        SELECT oid
          FROM pg_class
         WHERE relnamespace = 'analytics'::regnamespace
           AND relkind = 'r'
           AND pg_relation_size(oid) / current_setting('block_size')::bigint > 2 * relpages + 64
    LOOP
        -- Another process that analyses the table, or autovacuum, does what is needed here.
        EXECUTE format('ANALYZE (SKIP_LOCKED) %s', grown);
    END LOOP;
END
$$
