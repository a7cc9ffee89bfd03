"""Derive outages from the states of EVSEs, and what of them regulation lets out.

An outage is a longest stretch of neighbouring states that are down. It is let out while AMPECO shows an exempt period,
while the location is closed, and while an operator's entry covers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text

from analytics.availability.opening_hours import LOCAL_DAYS
from analytics.availability.places import PLACES, Place, openings_of, places_parameter
from analytics.schema.availability import DOWN, exclusion, outage
from analytics.scope import Scope, merged, scope_json, scope_sql
from analytics.writing import Work

_DOWN = ", ".join(map(repr, DOWN))


def derive(work: Work, places: Mapping[int, Place], scope: Scope, ended_days: Scope) -> None:
    """Derive the outages of EVSEs and their exclusions.

    Parameters:
        places: where the EVSEs are; of one that is missing, all rows go.
        scope: the EVSEs whose outages may differ, each with the time from which on.
        ended_days: the EVSEs for which days have ended, each with the end of the last day before; None: there was none.
    """
    starts = _starts(work, scope)
    # Of an outage that lasts, the closed hours are known up to the last day that is over.
    exclusions = merged(starts, ended_days)
    run_starts = merged(starts, _starts(work, ended_days))
    more: dict[int, dict[str, Any]] = {evse_id: {"run_since": since} for evse_id, since in run_starts.items()}
    parameters = {
        "places": places_parameter([places[evse_id] for evse_id in run_starts if evse_id in places], more),
    }
    openings = openings_of(places[evse_id] for evse_id in exclusions if evse_id in places)
    work.write_query(exclusion, exclusions, _EXCLUSIONS, {**parameters, **openings, "now": work.now})
    work.write_query(outage, starts, _OUTAGES, parameters)


# Index: primary key, backwards over the states of the outage. The outage to which a change belongs begins where the
# last state that is not down ends; if there is none, everything is derived.
_STARTS = text(f"""
SELECT scope.entity_id, CASE WHEN up.ended_at IS NOT NULL THEN least(scope.since, up.ended_at) END AS since
  FROM {scope_sql()}
  LEFT JOIN LATERAL (
       SELECT known.ended_at
         FROM analytics.evse_state_interval AS known
        WHERE known.tenant = :tenant
          AND known.evse_id = scope.entity_id
          AND known.began_at < scope.since
          AND known.state NOT IN ({_DOWN})
        ORDER BY known.began_at DESC
        LIMIT 1) AS up ON true
""")  # noqa: S608 - the states are ours


def _starts(work: Work, scope: Scope) -> Scope:
    """Widen a scope to the beginning of the outages in it."""
    if not scope:
        return {}
    rows = work.connection.execute(_STARTS, {"tenant": work.tenant, "scope": scope_json(scope)})
    return {row.entity_id: row.since for row in rows}


#: The outages that begin at or after ``run_since`` of their places. Index: primary key, once for each EVSE: how much of
#: its history is read is not known when the statement is planned, and a join would read that of all EVSEs.
_RUNS = f"""
down AS (
    SELECT known.evse_id,
           known.began_at,
           known.ended_at,
           known.state,
           lag(known.ended_at) OVER (PARTITION BY known.evse_id ORDER BY known.began_at) AS before_ended_at
      FROM place
     CROSS JOIN LATERAL (
           SELECT state.evse_id, state.began_at, state.ended_at, state.state
             FROM analytics.evse_state_interval AS state
            WHERE state.tenant = :tenant
              AND state.evse_id = place.evse_id
              AND state.began_at >= coalesce(place.run_since, '-infinity')
           OFFSET 0) AS known
     WHERE known.state IN ({_DOWN})
), numbered AS MATERIALIZED (
    SELECT evse_id,
           began_at,
           ended_at,
           state,
           count(*) FILTER (WHERE before_ended_at IS DISTINCT FROM began_at)
               OVER (PARTITION BY evse_id ORDER BY began_at) AS run
      FROM down
), run AS MATERIALIZED (
    SELECT evse_id, run, min(began_at) AS began_at, max(ended_at) AS ended_at
      FROM numbered
     GROUP BY evse_id, run
)"""  # noqa: S608 - the states are ours

# Indexes: downtime_period_tenant_evse_id_started_at_idx and its like of charge points; those of operator_exclusion. A
# period that does not end after it began excludes nothing. Closed hours are cut at midnight, so that a day that is over
# adds rows and changes none.
_EXCLUSIONS = f"""
WITH {PLACES}, {_RUNS}, run_day AS MATERIALIZED (
    SELECT run.evse_id,
           place.location_id,
           place.timezone,
           CAST(greatest(run.began_at, scope.since) AT TIME ZONE place.timezone AS date) AS first_day,
           CASE
           WHEN run.ended_at = 'infinity' THEN CAST(CAST(:now AS timestamptz) AT TIME ZONE place.timezone AS date) - 1
           ELSE CAST((run.ended_at - interval '1 microsecond') AT TIME ZONE place.timezone AS date)
           END AS last_day,
           run.began_at,
           run.ended_at
      FROM run
      JOIN place ON place.evse_id = run.evse_id
      JOIN scope ON scope.entity_id = run.evse_id
     WHERE place.has_hours
), span AS (
    SELECT location_id, timezone, first_day, last_day FROM run_day WHERE first_day <= last_day
), {LOCAL_DAYS}, source AS (
    SELECT run.evse_id,
           run.began_at AS outage_began_at,
           run.ended_at AS outage_ended_at,
           period.subject || '_exempt_period' AS source,
           period.downtime_period_id AS source_id,
           period.started_at AS began_at,
           coalesce(period.ended_at, 'infinity') AS ended_at,
           coalesce(period.notice, 'exempt') AS reason,
           jsonb_build_object('entry_mode', period.entry_mode) AS evidence
      FROM run
      JOIN place ON place.evse_id = run.evse_id
      JOIN analytics.downtime_period AS period
        ON period.tenant = :tenant
       AND (period.evse_id = place.evse_id AND period.subject = 'evse'
            OR period.charge_point_id = place.charge_point_id AND period.subject = 'charge_point')
       AND period.type = 'exempt'
       AND period.deleted_at IS NULL
     UNION ALL
    SELECT run.evse_id,
           run.began_at,
           run.ended_at,
           'operator',
           entry.exclusion_id,
           entry.began_at,
           coalesce(entry.ended_at, 'infinity'),
           entry.reason,
           jsonb_build_object('evidence', entry.evidence)
      FROM run
      JOIN place ON place.evse_id = run.evse_id
      JOIN charging.operator_exclusion AS entry
        ON entry.tenant = :tenant
       AND (entry.evse_id = place.evse_id
            OR entry.charge_point_id = place.charge_point_id
            OR entry.location_id = place.location_id)
       AND entry.withdrawn_at IS NULL
     UNION ALL
    SELECT run_day.evse_id,
           run_day.began_at,
           run_day.ended_at,
           'opening_hours',
           0,
           lower(closed_time),
           upper(closed_time),
           'closed',
           jsonb_build_object('timezone', run_day.timezone, 'day', local.day)
      FROM run_day
     CROSS JOIN LATERAL generate_series(
           CAST(run_day.first_day AS timestamp), CAST(run_day.last_day AS timestamp), interval '1 day') AS each_day
      JOIN location_day AS local
        ON local.location_id = run_day.location_id
       AND local.timezone = run_day.timezone
       AND local.day = CAST(each_day AS date)
     CROSS JOIN LATERAL unnest(local.closed) AS closed_time
)
SELECT source.evse_id,
       greatest(source.began_at, source.outage_began_at) AS began_at,
       source.source,
       source.source_id,
       least(source.ended_at, source.outage_ended_at) AS ended_at,
       source.outage_began_at,
       source.reason,
       source.evidence
  FROM source
  JOIN scope ON scope.entity_id = source.evse_id
 WHERE source.began_at < source.ended_at
   AND source.began_at < source.outage_ended_at
   AND source.ended_at > source.outage_began_at
   AND (scope.since IS NULL OR greatest(source.began_at, source.outage_began_at) >= scope.since)
"""  # noqa: S608 - the parts are ours


def _first_error(table: str, key: str, known: str) -> str:
    """Return the subquery of the first error code that was reported within an outage."""
    return f"""(
       SELECT observation.error_code
         FROM charging.{table} AS observation
        WHERE observation.tenant = :tenant
          AND observation.{key} = {known}.{key}
          AND observation.observed_at >= run.began_at
          AND observation.observed_at < run.ended_at
          AND observation.error_code <> 'NoError'
        ORDER BY observation.observed_at, observation.hardware_status NULLS FIRST, observation.error_code
        LIMIT 1)"""  # noqa: S608 - the names are ours


# Indexes: primary keys of exclusion and of the states; the unique constraints of the observations;
# session_tenant_evse_id_started_at_idx. Seconds are whole: a part of one counts to where it begins. Only stretches that
# are over decide the cause, so that time alone changes none.
_OUTAGES = f"""
WITH {PLACES}, {_RUNS}, state_time AS (
    SELECT evse_id,
           run,
           state,
           min(began_at) AS first_at,
           sum(CASE WHEN ended_at < 'infinity' THEN ended_at - began_at ELSE interval '0' END) AS length
      FROM numbered
     GROUP BY evse_id, run, state
), cause AS (
    SELECT DISTINCT ON (evse_id, run) evse_id, run, state
      FROM state_time
     ORDER BY evse_id, run, length DESC, first_at
)
SELECT run.evse_id,
       run.began_at,
       run.ended_at,
       place.charge_point_id,
       place.location_id,
       cause.state AS cause,
       coalesce(own_error.error_code, unit_error.error_code) AS error_code,
       CASE
       WHEN run.ended_at < 'infinity'
       THEN extract(epoch FROM date_trunc('second', run.ended_at) - date_trunc('second', run.began_at))
       END AS outage_s,
       CASE WHEN run.ended_at < 'infinity' THEN excluded.seconds END AS excluded_s,
       before.session_id AS session_before_id,
       after.session_id AS session_after_id
  FROM run
  JOIN scope ON scope.entity_id = run.evse_id AND (scope.since IS NULL OR run.began_at >= scope.since)
  JOIN place ON place.evse_id = run.evse_id
  JOIN cause ON cause.evse_id = run.evse_id AND cause.run = run.run
  LEFT JOIN LATERAL {_first_error("evse_status_observation", "evse_id", "run")} AS own_error ON true
  LEFT JOIN LATERAL {_first_error("charge_point_hardware_observation", "charge_point_id", "place")} AS unit_error
         ON own_error.error_code IS NULL
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(extract(epoch FROM upper(each) - lower(each))), 0) AS seconds
         FROM (
              SELECT range_agg(tstzrange(date_trunc('second', known.began_at), date_trunc('second', known.ended_at)))
                         AS times
                FROM analytics.exclusion AS known
               WHERE known.tenant = :tenant
                 AND known.evse_id = run.evse_id
                 AND known.began_at >= run.began_at
                 AND known.began_at < run.ended_at
                 AND run.ended_at < 'infinity') AS covered
        CROSS JOIN unnest(covered.times) AS each) AS excluded
  LEFT JOIN LATERAL (
       SELECT session.session_id
         FROM analytics.session AS session
        WHERE session.tenant = :tenant
          AND session.evse_id = run.evse_id
          AND session.started_at < run.began_at
        ORDER BY session.started_at DESC, session.session_id DESC
        LIMIT 1) AS before ON true
  LEFT JOIN LATERAL (
       SELECT session.session_id
         FROM analytics.session AS session
        WHERE session.tenant = :tenant
          AND session.evse_id = run.evse_id
          AND session.started_at >= run.ended_at
        ORDER BY session.started_at, session.session_id
        LIMIT 1) AS after ON true
"""  # noqa: S608 - the parts are ours
