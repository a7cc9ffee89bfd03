"""The rule about outages."""

from __future__ import annotations

from analytics.findings.rules.parts import LOOKBACK, concerns, stretch_at
from analytics.findings.rules.rule import Rule

# Index: primary key.
_EVSES = """
  FROM scope
  JOIN analytics.evse AS evse
    ON evse.tenant = :tenant
   AND evse.evse_id = scope.entity_id"""

_PERIODS = f"""
         FROM analytics.downtime_period AS period
        WHERE period.tenant = :tenant
          AND {concerns("period", "evse")}
          AND period.deleted_at IS NULL"""

#: By how much an outage and a period may differ.
_TOLERANCE = "5 minutes"

# Indexes: primary keys of outage and evse_state_interval, within the scope; see _PERIODS and stretch_at(). An EVSE is
# compared from the first sign on that AMPECO tracks it. Outages do not overlap, so the last one that began before the
# end of a period overlaps it, or none does. A period in which the state was unknown for a time cannot be compared.
OUTAGE_DIFFERS = Rule(
    name="outage_differs",
    kind="evse",
    severity="medium",
    scope="outage",
    meaning=f"An outage and AMPECO's downtime differ by over {_TOLERANCE} in beginning or end, or one of them has no"
    " other",
    remedy="Look at the evidence of the states; if they are right, correct the period at AMPECO",
    query=f"""
SELECT evse.evse_id AS entity_id,
       outage.began_at,
       outage.ended_at,
       jsonb_build_object(
           'ampeco_began_at', period.began_at, 'ampeco_ended_at', period.ended_at, 'periods', period.downtimes,
           'downtime_period_id', period.first_id) AS evidence
{_EVSES}
 CROSS JOIN LATERAL (
       SELECT least(evse.uptime_tracked_since, min(period.started_at)) AS since
         {_PERIODS}) AS tracked
 CROSS JOIN LATERAL (
       SELECT known.began_at, known.ended_at
         FROM analytics.outage AS known
        WHERE known.tenant = :tenant
          AND known.evse_id = scope.entity_id
          AND known.began_at >= coalesce(scope.since, '-infinity')
          AND known.ended_at > tracked.since
          AND known.ended_at < 'infinity'
       OFFSET 0) AS outage
 CROSS JOIN LATERAL (
       SELECT count(*) AS number,
              count(*) FILTER (WHERE period.type = 'downtime') AS downtimes,
              min(period.started_at) FILTER (WHERE period.type = 'downtime') AS began_at,
              max(period.ended_at) FILTER (WHERE period.type = 'downtime') AS ended_at,
              min(period.downtime_period_id) FILTER (WHERE period.type = 'downtime') AS first_id,
              coalesce(bool_or(period.ended_at IS NULL), false) AS is_open
         {_PERIODS}
          AND period.started_at > outage.began_at - {LOOKBACK}
          AND period.started_at < outage.ended_at
          AND coalesce(period.ended_at, 'infinity') > outage.began_at) AS period
 WHERE NOT period.is_open
   AND CASE WHEN period.number = 0 THEN outage.ended_at > outage.began_at + interval '{_TOLERANCE}'
            ELSE outage.began_at > period.began_at + interval '{_TOLERANCE}'
              OR period.began_at > outage.began_at + interval '{_TOLERANCE}'
              OR outage.ended_at > period.ended_at + interval '{_TOLERANCE}'
              OR period.ended_at > outage.ended_at + interval '{_TOLERANCE}'
            END
 UNION ALL
SELECT evse.evse_id,
       period.started_at,
       period.ended_at,
       jsonb_build_object(
           'ampeco_began_at', period.started_at, 'ampeco_ended_at', period.ended_at, 'periods', 1,
           'downtime_period_id', period.downtime_period_id)
{_EVSES}
  JOIN LATERAL (
       SELECT period.downtime_period_id, period.started_at, period.ended_at
         {_PERIODS}
          AND period.type = 'downtime'
          AND period.started_at >= coalesce(scope.since, '-infinity')
          AND period.ended_at > period.started_at + interval '{_TOLERANCE}') AS period ON true
  JOIN LATERAL {stretch_at("scope.entity_id", "period.started_at")} AS first ON true
  LEFT JOIN LATERAL (
       SELECT outage.ended_at
         FROM analytics.outage AS outage
        WHERE outage.tenant = :tenant
          AND outage.evse_id = scope.entity_id
          AND outage.began_at < period.ended_at
        ORDER BY outage.began_at DESC
        LIMIT 1) AS outage ON true
 WHERE coalesce(outage.ended_at, '-infinity') <= period.started_at
   AND NOT EXISTS (
       SELECT
         FROM analytics.evse_state_interval AS blind
        WHERE blind.tenant = :tenant
          AND blind.evse_id = scope.entity_id
          AND blind.began_at >= first.began_at
          AND blind.began_at < period.ended_at
          AND blind.state = 'unknown')
""",  # noqa: S608 - the names are ours
)
