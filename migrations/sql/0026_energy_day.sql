CREATE VIEW analytics.energy_day AS
SELECT part.tenant,
       part.location_id,
       part.local_day AS day,
       part.timezone,
       sum(part.energy_wh) AS energy_wh,
       sum(part.energy_kwh) AS energy_kwh,
       sum(part.estimated_wh) AS estimated_wh
  FROM analytics.energy_interval AS part
  JOIN analytics.session
    ON session.tenant = part.tenant
   AND session.session_id = part.session_id
 WHERE session.removed_at IS NULL
 GROUP BY part.tenant, part.location_id, part.local_day, part.timezone
