-- An attempt begins a visit if the one before it, of this driver at this location, ended more than 15 minutes earlier.
-- Each condition on began_at or location_id leads to few attempts, and charge_attempt_visit_idx from each to the one
-- before it and to the following ones. An open attempt counts as ended when it began: otherwise a session that never
-- stops would take in all later visits. An attempt that was removed at AMPECO is none.
CREATE OR REPLACE VIEW analytics.visit AS
SELECT first.tenant,
       first.location_id,
       first.driver_key,
       first.attempted_at AS began_at,
       visit.ended_at,
       visit.attempts,
       visit.succeeded,
       first.is_success AS first_attempt_succeeded,
       visit.energy_wh
  FROM analytics.charge_attempt AS first
  LEFT JOIN LATERAL (
       SELECT greatest(former.attempted_at, former.ended_at) AS ended_at
         FROM analytics.charge_attempt AS former
        WHERE former.tenant = first.tenant
          AND former.location_id = first.location_id
          AND former.driver_key = first.driver_key
          AND former.removed_at IS NULL
          AND (former.attempted_at, former.source, former.source_id)
              < (first.attempted_at, first.source, first.source_id)
        ORDER BY former.attempted_at DESC, former.source DESC, former.source_id DESC
        LIMIT 1) AS before ON true
  LEFT JOIN LATERAL (
       SELECT later.attempted_at, later.source, later.source_id
         FROM analytics.charge_attempt AS later
        WHERE later.tenant = first.tenant
          AND later.location_id = first.location_id
          AND later.driver_key = first.driver_key
          AND later.removed_at IS NULL
          AND (later.attempted_at, later.source, later.source_id)
              > (first.attempted_at, first.source, first.source_id)
          AND later.attempted_at > (
              SELECT greatest(former.attempted_at, former.ended_at) + interval '15 minutes'
                FROM analytics.charge_attempt AS former
               WHERE former.tenant = later.tenant
                 AND former.location_id = later.location_id
                 AND former.driver_key = later.driver_key
                 AND former.removed_at IS NULL
                 AND (former.attempted_at, former.source, former.source_id)
                     < (later.attempted_at, later.source, later.source_id)
               ORDER BY former.attempted_at DESC, former.source DESC, former.source_id DESC
               LIMIT 1)
        ORDER BY later.attempted_at, later.source, later.source_id
        LIMIT 1) AS next ON true
 CROSS JOIN LATERAL (
       SELECT CASE WHEN bool_and(attempt.ended_at IS NOT NULL) THEN max(attempt.ended_at) END AS ended_at,
              count(*) AS attempts,
              count(*) FILTER (WHERE attempt.is_success) AS succeeded,
              coalesce(sum(attempt.energy_wh), 0) AS energy_wh
         FROM analytics.charge_attempt AS attempt
        WHERE attempt.tenant = first.tenant
          AND attempt.location_id = first.location_id
          AND attempt.driver_key = first.driver_key
          AND attempt.removed_at IS NULL
          AND (attempt.attempted_at, attempt.source, attempt.source_id)
              >= (first.attempted_at, first.source, first.source_id)
          AND attempt.attempted_at <= coalesce(next.attempted_at, 'infinity')
          AND (next.attempted_at IS NULL
               OR (attempt.attempted_at, attempt.source, attempt.source_id)
                  < (next.attempted_at, next.source, next.source_id))) AS visit
 WHERE first.driver_key IS NOT NULL
   AND first.location_id IS NOT NULL
   AND first.attempted_at IS NOT NULL
   AND first.removed_at IS NULL
   AND (before.ended_at IS NULL OR first.attempted_at > before.ended_at + interval '15 minutes');
