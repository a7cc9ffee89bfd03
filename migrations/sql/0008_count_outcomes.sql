-- One row for a tenant, changed by every statement that sets a notification aside, or takes it back.
-- Dropping a day takes ignored ones out of the log, and leaves them in the totals.
CREATE OR REPLACE FUNCTION ingest.count_outcomes() RETURNS trigger
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
