-- It is built again each time: a session that moves to another day changes two rows, and its new row names only one.
WITH evse_days AS (
    SELECT tenant,
           location_id,
           day,
           count(*) AS evses,
           sum(outage_s) AS outage_s,
           sum(charging_s) AS charging_s,
           sum(day_s - unknown_s) AS known_s
      FROM {{ source('analytics', 'evse_day') }}
     WHERE location_id IS NOT NULL
     GROUP BY tenant, location_id, day
), by_currency AS (
    SELECT tenant,
           location_id,
           local_day AS day,
           currency,
           count(*) AS sessions,
           sum(energy_kwh) AS energy_kwh,
           sum(amount_with_tax) AS revenue
      FROM {{ source('analytics', 'session') }}
     WHERE location_id IS NOT NULL
       AND local_day IS NOT NULL
       AND removed_at IS NULL
     GROUP BY tenant, location_id, local_day, currency
), session_days AS (
    SELECT tenant,
           location_id,
           day,
           sum(sessions) AS sessions,
           sum(energy_kwh) AS energy_kwh,
           jsonb_object_agg(currency, revenue)
               FILTER (WHERE currency IS NOT NULL AND revenue IS NOT NULL) AS revenue_with_tax
      FROM by_currency
     GROUP BY tenant, location_id, day
), site_days AS (
    SELECT *
      FROM evse_days
      FULL JOIN session_days USING (tenant, location_id, day)
)
SELECT site_days.tenant,
       site_days.location_id,
       site_days.day,
       location.name AS location_name,
       coalesce(site_days.sessions, 0) AS sessions,
       coalesce(site_days.energy_kwh, 0) AS energy_kwh,
       coalesce(site_days.revenue_with_tax, '{}') AS revenue_with_tax,
       site_days.evses,
       round(site_days.outage_s / 60.0, 1) AS outage_minutes,
       round(100.0 * site_days.charging_s / nullif(site_days.known_s, 0), 3) AS utilisation_percent
  FROM site_days
  LEFT JOIN {{ source('analytics', 'location') }} AS location
    ON location.tenant = site_days.tenant
   AND location.location_id = site_days.location_id
