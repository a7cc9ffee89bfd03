CREATE FUNCTION analytics.first_instant(local_time timestamp, zone text) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    -- Of a time that occurs twice because clocks are put back, Postgres takes the second.
    SELECT CASE
           WHEN (found - interval '2 hours') AT TIME ZONE zone = local_time THEN found - interval '2 hours'
           WHEN (found - interval '1 hour') AT TIME ZONE zone = local_time THEN found - interval '1 hour'
           WHEN (found - interval '30 minutes') AT TIME ZONE zone = local_time THEN found - interval '30 minutes'
           ELSE found
           END
      FROM (SELECT local_time AT TIME ZONE zone AS found) AS taken
$$
