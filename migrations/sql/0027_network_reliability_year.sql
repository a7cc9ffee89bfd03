CREATE VIEW analytics.network_reliability_year AS
SELECT tenant,
       year,
       evses,
       open_s,
       round(100 * (open_s - not_working_s) / nullif(open_s, 0), 3) AS reliable_percent_as_written,
       round(100 * (open_s - unmeasured_s - not_working_s) / nullif(open_s - unmeasured_s, 0), 3)
           AS reliable_percent_measured,
       100 * (open_s - not_working_s) >= 99 * open_s AS meets_99_as_written
  FROM (
       SELECT day.tenant,
              CAST(extract(year FROM day.day) AS integer) AS year,
              count(DISTINCT day.evse_id) AS evses,
              CAST(sum(day.day_s - day.closed_s) AS numeric) AS open_s,
              CAST(sum(day.faulted_s + day.unavailable_s - day.not_working_closed_s) AS numeric) AS not_working_s,
              CAST(sum(day.offline_s + day.occupied_s + day.unknown_s - day.unmeasured_closed_s) AS numeric)
                  AS unmeasured_s
         FROM analytics.evse_day AS day
         JOIN analytics.evse AS evse ON evse.tenant = day.tenant AND evse.evse_id = day.evse_id
         JOIN analytics.charge_point AS charge_point
           ON charge_point.tenant = day.tenant AND charge_point.charge_point_id = evse.charge_point_id
        WHERE evse.max_power_w >= 50000
          AND evse.roaming_operator_id IS NULL
          AND charge_point.roaming_operator_id IS NULL
          AND charge_point.access_type = 'public'
        GROUP BY day.tenant, extract(year FROM day.day)) AS network
