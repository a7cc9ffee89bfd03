CREATE VIEW analytics.energy_hour AS
SELECT part.tenant,
       part.location_id,
       part.timezone,
       part.local_hour_at AS hour_began_at,
       sum(part.energy_wh) AS energy_wh,
       sum(part.energy_kwh) AS energy_kwh,
       count(DISTINCT part.session_id) AS sessions
  FROM analytics.energy_interval AS part
  JOIN analytics.session
    ON session.tenant = part.tenant
   AND session.session_id = part.session_id
 WHERE session.removed_at IS NULL
 GROUP BY part.tenant, part.location_id, part.timezone, part.local_hour_at
