-- Plans that count on an empty or a small table read it again for each row of another one, and autovacuum looks once a
-- minute: a table that has grown to over twice its size is analysed here, so that no round of deriving becomes slow
-- while a database fills. The few that have grown most are enough at a time, because the next round is soon. ANALYZE
-- needs the owner of the tables, as whom this runs.
CREATE OR REPLACE FUNCTION analytics.refresh_statistics() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    grown regclass;
BEGIN
    FOR grown IN
        SELECT oid
          FROM (SELECT oid, greatest(relpages, 0) AS known, pg_relation_size(oid)
                           / current_setting('block_size')::bigint AS pages
                  FROM pg_class
                 WHERE relnamespace IN ('analytics'::regnamespace, 'charging'::regnamespace)
                   AND relkind = 'r') AS size
         WHERE pages > 2 * known + 8
         ORDER BY pages / (known + 8) DESC, oid
         LIMIT 4
    LOOP
        -- Another process that analyses the table, or autovacuum, does what is needed here.
        EXECUTE format('ANALYZE (SKIP_LOCKED) %s', grown);
    END LOOP;
END
$$
