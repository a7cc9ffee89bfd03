"""Derive the uptime of EVSEs over twelve months, by the formula of the programme NEVI of the United States."""

from __future__ import annotations

from collections.abc import Mapping

from analytics.availability.places import PLACES, Place, places_parameter
from analytics.schema.availability import evse_uptime_month
from analytics.scope import Scope
from analytics.writing import Work

#: Version of the rules of 23 CFR 680.116(b) and docs/analytics.md: it changes if the same facts give other numbers.
RULE = "2026-11"

#: The minutes of a year by which the formula divides, also for a leap year; here in seconds.
YEAR_S = 525_600 * 60

# Indexes: the primary key of evse_day; downtime_period_tenant_evse_id_started_at_idx and its like of charge points.
# Months are counted from year 0.
_MONTHS = f"""
WITH {PLACES}, month_sum AS MATERIALIZED (
    SELECT day.evse_id,
           CAST(extract(year FROM day.day) * 12 + extract(month FROM day.day) - 1 AS integer) AS month,
           count(*) FILTER (WHERE day.unknown_s < day.day_s) AS days,
           sum(day.outage_s) AS outage_s,
           sum(day.excluded_s) AS excluded_s,
           sum(day.day_s - day.unknown_s) AS known_s
      FROM place
      JOIN analytics.evse_day AS day
        ON day.tenant = :tenant
       AND day.evse_id = place.evse_id
     GROUP BY day.evse_id, extract(year FROM day.day), extract(month FROM day.day)
), present AS (
    SELECT place.evse_id,
           CAST(extract(year FROM today.day) * 12 + extract(month FROM today.day) - 1 AS integer) AS month
      FROM place
     CROSS JOIN LATERAL (SELECT CAST(:now AS timestamptz) AT TIME ZONE place.timezone AS day) AS today
), target AS (
    SELECT known.evse_id, each_month AS month
      FROM (SELECT evse_id, min(month) AS first_month, max(month) AS last_month
              FROM month_sum
             GROUP BY evse_id) AS known
      JOIN present ON present.evse_id = known.evse_id
     CROSS JOIN LATERAL generate_series(
               known.first_month, least(known.last_month + 11, present.month - 1)) AS each_month
), total AS MATERIALIZED (
    SELECT target.evse_id,
           target.month,
           sum(month_sum.days) AS days,
           sum(month_sum.outage_s) AS outage_s,
           sum(month_sum.excluded_s) AS excluded_s,
           sum(month_sum.known_s) AS known_s
      FROM target
      JOIN month_sum
        ON month_sum.evse_id = target.evse_id
       AND month_sum.month BETWEEN target.month - 11 AND target.month
     GROUP BY target.evse_id, target.month
), downtime AS MATERIALIZED (
    SELECT place.evse_id,
           range_agg(tstzrange(date_trunc('second', period.started_at),
                               date_trunc('second', coalesce(period.ended_at, 'infinity')))) AS times
      FROM place
      JOIN analytics.downtime_period AS period
        ON period.tenant = :tenant
       AND (period.evse_id = place.evse_id AND period.subject = 'evse'
            OR period.charge_point_id = place.charge_point_id AND period.subject = 'charge_point')
       AND period.type = 'downtime'
       AND period.deleted_at IS NULL
       AND period.started_at < coalesce(period.ended_at, 'infinity')
     GROUP BY place.evse_id
)
SELECT total.evse_id,
       make_date(total.month / 12, total.month % 12 + 1, 1) AS month,
       place.charge_point_id,
       place.location_id,
       total.days,
       total.outage_s,
       total.excluded_s,
       100 * CAST({YEAR_S} - (total.outage_s - total.excluded_s) AS numeric) / {YEAR_S} AS nevi_uptime_percent,
       total.known_s,
       100 * CAST(total.known_s - total.outage_s AS numeric) / nullif(total.known_s, 0) AS up_share_percent,
       100 * CAST(total.known_s AS numeric)
           / extract(epoch FROM upper(year.time) - lower(year.time)) AS coverage_percent,
       (SELECT coalesce(sum(extract(epoch FROM upper(each) - lower(each))), 0)
          FROM unnest(coalesce(downtime.times, '{{}}') * tstzmultirange(year.time)) AS each) AS ampeco_downtime_s,
       '{RULE}' AS rule
  FROM total
  JOIN place ON place.evse_id = total.evse_id
 CROSS JOIN LATERAL (
       SELECT make_date((total.month - 11) / 12, (total.month - 11) % 12 + 1, 1) AS first_day,
              make_date((total.month + 1) / 12, (total.month + 1) % 12 + 1, 1) AS next_day) AS twelve
 CROSS JOIN LATERAL (
       SELECT tstzrange(analytics.first_instant(CAST(twelve.first_day AS timestamp), place.timezone),
                        analytics.first_instant(CAST(twelve.next_day AS timestamp), place.timezone)) AS time) AS year
  LEFT JOIN downtime ON downtime.evse_id = total.evse_id
"""  # noqa: S608 - the parts are ours


def derive(work: Work, places: Mapping[int, Place], scope: Scope) -> None:
    """Derive the months of EVSEs.

    Parameters:
        places: where the EVSEs are; of one that is missing or has no time zone, all rows go.
        scope: the EVSEs; all months of each are derived.
    """
    known = [places[evse_id] for evse_id in scope if evse_id in places and places[evse_id].timezone is not None]
    work.write_query(evse_uptime_month, scope, _MONTHS, {"places": places_parameter(known, {}), "now": work.now})
