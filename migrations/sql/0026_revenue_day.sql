CREATE VIEW analytics.revenue_day AS
SELECT session.tenant,
       session.location_id,
       session.local_day AS day,
       session.currency,
       count(*) AS sessions,
       sum(session.amount_with_tax) AS amount_with_tax,
       sum(session.amount_without_tax) AS amount_without_tax,
       sum(session.tax_amount) AS tax_amount,
       sum(session.electricity_cost) AS electricity_cost,
       sum(session.energy_wh) AS energy_wh,
       bool_and(session.is_final) AS is_final
  FROM analytics.session
 WHERE session.removed_at IS NULL
 GROUP BY session.tenant, session.location_id, session.local_day, session.currency
