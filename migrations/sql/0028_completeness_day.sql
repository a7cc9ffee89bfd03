-- Hours are counted every few minutes, in ingest.traffic. What the last count may lack is counted here, from batches of
-- that time on: their ids increase with time, so the primary key finds them. Failed and ignored notifications are found
-- by their ids in the same way. A day's columns are computed only if a query shows the day.
CREATE VIEW analytics.completeness_day AS
WITH service AS (
    SELECT min(began_at) AS began_at, max(last_beat_at) AS last_beat_at FROM ingest.uptime
), day AS (
    SELECT feed.tenant,
           CAST(began_at AT TIME ZONE 'UTC' AS date) AS day,
           began_at,
           began_at + interval '24 hours' AS ended_at
      FROM analytics.feed,
           generate_series(
               date_trunc('day', greatest((SELECT began_at FROM service), now() - interval '9600 hours'), 'UTC'),
               now(),
               interval '24 hours') AS began_at
)
SELECT day.tenant,
       day.day,
       CAST(coalesce(hours.notifications, 0) + coalesce(latest.notifications, 0) AS bigint) AS received,
       CASE WHEN NOT dropped.is_dropped THEN CAST(greatest(
           coalesce(hours.notifications, 0) + coalesce(latest.notifications, 0)
               - outcomes.ignored - outcomes.failed - open.notifications, 0) AS bigint) END AS applied,
       CASE WHEN NOT dropped.is_dropped THEN outcomes.ignored END AS ignored,
       outcomes.failed,
       CAST(open.notifications AS bigint) AS pending,
       CAST(runs.found AS bigint) AS found_by_reconcile,
       CAST(runs.healed AS bigint) AS healed_by_reconcile,
       CAST(greatest(extract(epoch FROM least(day.ended_at, now())
           - greatest(day.began_at, (SELECT began_at FROM service))) - alive.seconds, 0) AS integer)
           AS without_receiver_s
  FROM day
 CROSS JOIN LATERAL (
       SELECT CASE WHEN max(hour_at) IS NOT NULL
                   THEN least(max(hour_at), date_trunc('hour', now() - interval '10 minutes', 'UTC')) END AS until_at
         FROM ingest.traffic
        WHERE traffic.tenant = day.tenant) AS counted
 CROSS JOIN LATERAL (
       SELECT sum(traffic.notifications) AS notifications
         FROM ingest.traffic
        WHERE traffic.tenant = day.tenant
          AND traffic.hour_at >= day.began_at
          AND traffic.hour_at < least(day.ended_at, counted.until_at)) AS hours
 CROSS JOIN LATERAL (
       SELECT sum(batch.notifications) AS notifications
         FROM ingest.batch
        WHERE day.ended_at > coalesce(counted.until_at, '-infinity')
          AND batch.tenant = day.tenant
          AND batch.batch_id >= CAST(lpad(to_hex(CAST(floor(extract(epoch FROM
              greatest(day.began_at, counted.until_at)) * 1000) AS bigint)), 12, '0') || repeat('0', 20) AS uuid)
          AND batch.batch_id < CAST(lpad(to_hex(CAST(floor(extract(epoch FROM
              day.ended_at + interval '10 minutes') * 1000) AS bigint)), 12, '0') || repeat('0', 20) AS uuid)
          AND batch.first_received_at >= greatest(day.began_at, counted.until_at)
          AND batch.first_received_at < day.ended_at) AS latest
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE outcome.state = 'ignored') AS ignored,
              count(*) FILTER (WHERE outcome.state = 'failed') AS failed
         FROM ingest.outcome
         JOIN ingest.batch
           ON batch.tenant = outcome.tenant
          AND batch.batch_id = outcome.batch_id
        WHERE outcome.tenant = day.tenant
          AND outcome.notification_id >= CAST(lpad(to_hex(CAST(floor(extract(epoch FROM
              day.began_at) * 1000) AS bigint)), 12, '0') || repeat('0', 20) AS uuid)
          AND outcome.notification_id < CAST(lpad(to_hex(CAST(floor(extract(epoch FROM
              day.ended_at + interval '10 minutes') * 1000) AS bigint)), 12, '0') || repeat('0', 20) AS uuid)
          AND batch.applied_at IS NOT NULL
          AND batch.first_received_at >= day.began_at
          AND batch.first_received_at < day.ended_at) AS outcomes
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(batch.notifications), 0) AS notifications
         FROM ingest.batch
        WHERE batch.applied_at IS NULL
          AND batch.tenant = day.tenant
          AND batch.first_received_at >= day.began_at
          AND batch.first_received_at < day.ended_at) AS open
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(sync_run.missing + sync_run.stale), 0) AS found,
              coalesce(sum(sync_run.healed), 0) AS healed
         FROM ingest.sync_run
        WHERE sync_run.tenant = day.tenant
          AND sync_run.purpose = 'reconcile'
          AND sync_run.finished_at >= day.began_at
          AND sync_run.finished_at < day.ended_at) AS runs
 CROSS JOIN LATERAL (
       SELECT EXISTS (SELECT FROM ingest.dropped_day WHERE dropped_day.day = day.day) AS is_dropped) AS dropped
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(extract(epoch FROM period.ended_at - period.began_at)), 0) AS seconds
         FROM (SELECT greatest(uptime.began_at, day.began_at) AS began_at,
                      least(CASE WHEN uptime.last_beat_at = service.last_beat_at
                                  AND uptime.last_beat_at > now() - interval '30 seconds' THEN now()
                                 ELSE uptime.last_beat_at END, day.ended_at) AS ended_at
                 FROM ingest.uptime, service) AS period
        WHERE period.began_at < period.ended_at) AS alive
