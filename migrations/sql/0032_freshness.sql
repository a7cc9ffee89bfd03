-- Open batches are few, and the other values are found at the ends of primary keys.
CREATE OR REPLACE VIEW analytics.freshness AS
SELECT feed.tenant,
       greatest(latest.last_received_at, baseline.last_received_at) AS last_notification_at,
       coalesce(open.first_received_at, now()) AS applied_until,
       nullif(feed.derived_until, '-infinity') AS derived_until,
       least(open.committed_at, mark.marked_at) AS oldest_pending_at,
       CASE WHEN least(open.committed_at, mark.marked_at) <= now() THEN
           CAST(least(extract(epoch FROM now() - least(open.committed_at, mark.marked_at)), 2147483647) AS integer)
           WHEN least(open.committed_at, mark.marked_at) > now() THEN 0 END AS oldest_pending_s,
       feed.last_change_number,
       EXISTS (SELECT FROM ingest.uptime WHERE uptime.last_beat_at > now() - interval '30 seconds') AS is_receiver_alive,
       coalesce(due.noted_at, now()) AS findings_until
  FROM analytics.feed
  LEFT JOIN ingest.traffic_baseline AS baseline
    ON baseline.tenant = feed.tenant
  LEFT JOIN LATERAL (
       SELECT batch.last_received_at
         FROM ingest.batch
        WHERE batch.tenant = feed.tenant
        ORDER BY batch.batch_id DESC
        LIMIT 1) AS latest ON true
 CROSS JOIN LATERAL (
       SELECT min(batch.first_received_at) AS first_received_at, min(batch.committed_at) AS committed_at
         FROM ingest.batch
        WHERE batch.applied_at IS NULL
          AND batch.tenant = feed.tenant) AS open
  LEFT JOIN LATERAL (
       SELECT dirty.marked_at
         FROM analytics.dirty
        WHERE dirty.tenant = feed.tenant
        ORDER BY dirty.dirty_id
        LIMIT 1) AS mark ON true
  LEFT JOIN LATERAL (
       SELECT finding_due.noted_at
         FROM analytics.finding_due
        WHERE finding_due.tenant = feed.tenant
        ORDER BY finding_due.due_id
        LIMIT 1) AS due ON true
