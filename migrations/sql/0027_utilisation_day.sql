CREATE VIEW analytics.utilisation_day AS
SELECT tenant,
       location_id,
       day,
       evses,
       day_s,
       known_s,
       charging_s,
       occupied_s,
       round(100 * CAST(charging_s AS numeric) / nullif(known_s, 0), 3) AS utilisation_percent,
       outage_s,
       sessions,
       attempts,
       energy_wh,
       energy_wh / 1000 AS energy_kwh
  FROM (
       SELECT tenant,
              location_id,
              day,
              count(*) AS evses,
              sum(day_s) AS day_s,
              sum(day_s - unknown_s) AS known_s,
              sum(charging_s) AS charging_s,
              sum(charging_s + suspended_s + finishing_s + preparing_s + occupied_s) AS occupied_s,
              sum(outage_s) AS outage_s,
              sum(sessions) AS sessions,
              sum(attempts) AS attempts,
              sum(energy_wh) AS energy_wh
         FROM analytics.evse_day
        GROUP BY tenant, location_id, day) AS totals
