"""Derive the local days of EVSEs that are over, from their states, exclusions, sessions, attempts and energy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text

from analytics.availability.opening_hours import LOCAL_DAYS
from analytics.availability.places import PLACES, Place, openings_of, places_parameter
from analytics.schema.availability import evse_day
from analytics.schema.evse_state import STATES
from analytics.scope import Scope
from analytics.writing import Work
from storage.documents import to_json


class Span(NamedTuple):
    """The local days of an EVSE that are over.

    Attributes:
        since: from when on days are derived, the beginning of one; None: all are.
        days: the first and the last day to derive, ISO 8601; None: there is none.
        days_until_at: when the last day ended; None: none did.
        due_at: when the next day or month is over that is to be derived; None: none will be.
        day_began_at: when the present local day began; days before are over.
        month_began_at: when the present local month began; months before are over.
    """

    since: datetime | None
    days: tuple[str, str] | None
    days_until_at: datetime | None
    due_at: datetime | None
    day_began_at: datetime
    month_began_at: datetime


# Indexes: the primary key of the states, and their unique constraint backwards. Days before the first known state are
# left out: a status that a charge point dates to 1970 would make twenty thousand. After its states have ended, an EVSE
# has a row for each month whose twelve months contain one of its days.
_SPANS = text("""
SELECT scope.entity_id AS evse_id,
       analytics.first_instant(since.day, zone.name) AS since,
       CAST(greatest(known.first_day, CAST(since.day AS date)) AS text) AS first_day,
       CAST(until.last_day AS text) AS last_day,
       known.first_day <= until.last_day AND coalesce(CAST(since.day AS date) <= until.last_day, true) AS has_days,
       CASE
       WHEN known.first_day <= known.last_day THEN analytics.first_instant(known.last_day + interval '1 day', zone.name)
       END AS days_until_at,
       CASE
       WHEN known.ended_at > today.began_at THEN analytics.first_instant(today.day + interval '1 day', zone.name)
       WHEN known.first_day IS NOT NULL
            AND today.month <= date_trunc('month', CAST(known.last_day AS timestamp)) + interval '11 months'
       THEN analytics.first_instant(today.month + interval '1 month', zone.name)
       END AS due_at,
       today.began_at AS day_began_at,
       analytics.first_instant(today.month, zone.name) AS month_began_at
  FROM json_to_recordset(CAST(:scope AS json))
       AS scope (entity_id bigint, since timestamptz, until timestamptz, timezone text)
 CROSS JOIN LATERAL (SELECT scope.timezone AS name) AS zone
 CROSS JOIN LATERAL (SELECT date_trunc('day', scope.since AT TIME ZONE zone.name) AS day) AS since
 CROSS JOIN LATERAL (SELECT CAST(:now AS timestamptz) AT TIME ZONE zone.name AS time) AS present
 CROSS JOIN LATERAL (
       SELECT date_trunc('day', present.time) AS day,
              date_trunc('month', present.time) AS month,
              analytics.first_instant(date_trunc('day', present.time), zone.name) AS began_at) AS today
  LEFT JOIN LATERAL (
       SELECT first.began_at
         FROM analytics.evse_state_interval AS first
        WHERE first.tenant = :tenant
          AND first.evse_id = scope.entity_id
          AND first.state <> 'unknown'
        ORDER BY first.began_at
        LIMIT 1) AS first ON true
  LEFT JOIN LATERAL (
       SELECT last.ended_at
         FROM analytics.evse_state_interval AS last
        WHERE last.tenant = :tenant
          AND last.evse_id = scope.entity_id
          AND first.began_at IS NOT NULL
        ORDER BY last.ended_at DESC
        LIMIT 1) AS last ON true
 CROSS JOIN LATERAL (
       SELECT CAST(first.began_at AT TIME ZONE zone.name AS date) AS first_day,
              CAST(least((last.ended_at - interval '1 microsecond') AT TIME ZONE zone.name,
                         today.day - interval '1 microsecond') AS date) AS last_day,
              last.ended_at) AS known
 CROSS JOIN LATERAL (
       SELECT least(known.last_day, CAST(scope.until AT TIME ZONE zone.name AS date)) AS last_day) AS until
""")


def load_spans(work: Work, places: Mapping[int, Place], scope: Scope, until: Mapping[int, datetime]) -> dict[int, Span]:
    """Return which days are to be derived of EVSEs with a time zone, by EVSE."""
    limits = [
        {
            "entity_id": evse_id,
            "since": since,
            "until": until.get(evse_id),
            "timezone": places[evse_id].timezone,
        }
        for evse_id, since in scope.items()
        if evse_id in places and places[evse_id].timezone is not None
    ]
    if not limits:
        return {}
    rows = work.connection.execute(_SPANS, {"tenant": work.tenant, "now": work.now, "scope": to_json(limits)})
    return {
        row.evse_id: Span(
            row.since,
            (row.first_day, row.last_day) if row.has_days else None,
            row.days_until_at,
            row.due_at,
            row.day_began_at,
            row.month_began_at,
        )
        for row in rows
    }


def derive(work: Work, places: Mapping[int, Place], scope: Scope, until: Mapping[int, datetime]) -> dict[int, Span]:
    """Derive days of EVSEs.

    Parameters:
        places: where the EVSEs are; of one that is missing or has no time zone, all rows go.
        scope: the EVSEs, each with the time from which on its days may differ.
        until: the latest time up to which they may, for EVSEs of which that is known.

    Returns:
        The days of each EVSE that has a time zone.
    """
    spans = load_spans(work, places, scope, until)
    limits: Scope = {evse_id: spans[evse_id].since if evse_id in spans else None for evse_id in scope}
    # Most changes are of today, of which there is no row yet.
    for evse_id, span in spans.items():
        is_without = evse_id in until and span.days is None
        if is_without or (span.since is not None and span.since >= span.day_began_at):
            del limits[evse_id]
    bounded = {evse_id: since for evse_id, since in limits.items() if evse_id in until and evse_id in spans}
    others = {evse_id: since for evse_id, since in limits.items() if evse_id not in bounded}
    _derive(work, places, spans, others)
    _derive(work, places, spans, bounded, _UP_TO_LAST_DAY)
    return spans


# Days after the last one that is derived stay.
_UP_TO_LAST_DAY = """EXISTS (
    SELECT
      FROM json_to_recordset(CAST(:places AS json)) AS bound (evse_id bigint, last_day date)
     WHERE bound.evse_id = known.evse_id
       AND bound.last_day >= known.day)"""


def _derive(work: Work, places: Mapping[int, Place], spans: Mapping[int, Span], limits: Scope, among: str = "") -> None:
    days = {evse_id: span.days for evse_id, span in spans.items() if evse_id in limits and span.days is not None}
    derived = [places[evse_id] for evse_id in days]
    more = {evse_id: {"first_day": first, "last_day": last} for evse_id, (first, last) in days.items()}
    parameters = {"places": places_parameter(derived, more), **openings_of(derived)}
    work.write_query(evse_day, limits, _DAYS, parameters, among)


def _state_sums() -> str:
    """Return the columns of the states: of each the seconds, and what nothing covers is unknown."""
    known = [state for state in STATES if state != "unknown"]
    columns = [
        f"coalesce(sum(seconds.all_s) FILTER (WHERE stretch.state = '{state}'), 0) AS {state}_s" for state in known
    ]
    return ",\n              ".join(columns)


#: The states that do not show whether an EVSE works.
_NOT_MEASURED = ("offline", "occupied", "unknown")

_UNMEASURED = ", ".join(map(repr, _NOT_MEASURED))

# Indexes: primary keys, for the states from the one in which a day begins; exclusion_tenant_evse_id_ended_at_idx; those
# of session, charge_attempt and energy_interval by EVSE and time. Instants are cut to whole seconds, so that the
# seconds of the states add up to the day.
_DAYS = f"""
WITH {PLACES}, span AS (
    SELECT location_id, timezone, min(first_day) AS first_day, max(last_day) AS last_day
      FROM place
     GROUP BY location_id, timezone
), {LOCAL_DAYS}, excluded AS MATERIALIZED (
    SELECT place.evse_id,
           range_agg(tstzrange(date_trunc('second', known.began_at), date_trunc('second', known.ended_at))) AS times
      FROM place
      JOIN scope ON scope.entity_id = place.evse_id
      JOIN analytics.exclusion AS known
        ON known.tenant = :tenant
       AND known.evse_id = place.evse_id
       AND known.ended_at > coalesce(scope.since, '-infinity')
     GROUP BY place.evse_id
), local AS (
    SELECT place.evse_id,
           place.charge_point_id,
           place.location_id,
           place.timezone,
           local.day,
           local.began_at,
           local.ended_at,
           tstzrange(local.began_at, local.ended_at) AS time,
           local.closed,
           coalesce(excluded.times, '{{}}') AS excluded
      FROM place
      JOIN location_day AS local
        ON local.location_id = place.location_id
       AND local.timezone = place.timezone
       AND local.day BETWEEN place.first_day AND place.last_day
      LEFT JOIN excluded ON excluded.evse_id = place.evse_id
)
SELECT local.evse_id,
       local.day,
       local.charge_point_id,
       local.location_id,
       local.timezone,
       local.began_at,
       local.ended_at,
       length.day_s,
       {", ".join(f"states.{state}_s" for state in STATES if state != "unknown")},
       length.day_s - states.known_s AS unknown_s,
       states.observed_s,
       length.closed_s,
       states.not_working_closed_s,
       length.closed_s - states.measured_closed_s AS unmeasured_closed_s,
       length.excluded_s,
       (SELECT count(*)
          FROM analytics.session AS session
         WHERE session.tenant = :tenant
           AND session.evse_id = local.evse_id
           AND session.started_at >= local.began_at
           AND session.started_at < local.ended_at) AS sessions,
       (SELECT count(*)
          FROM analytics.charge_attempt AS attempt
         WHERE attempt.tenant = :tenant
           AND attempt.evse_id = local.evse_id
           AND attempt.attempted_at >= local.began_at
           AND attempt.attempted_at < local.ended_at) AS attempts,
       (SELECT coalesce(sum(quarter.energy_wh), 0)
          FROM analytics.energy_interval AS quarter
         WHERE quarter.tenant = :tenant
           AND quarter.evse_id = local.evse_id
           AND quarter.began_at >= local.began_at
           AND quarter.began_at < local.ended_at) AS energy_wh
  FROM local
 CROSS JOIN LATERAL (
       SELECT extract(epoch FROM local.ended_at - local.began_at) AS day_s,
              (SELECT coalesce(sum(extract(epoch FROM upper(each) - lower(each))), 0)
                 FROM unnest(local.closed) AS each) AS closed_s,
              (SELECT coalesce(sum(extract(epoch FROM upper(each) - lower(each))), 0)
                 FROM unnest(local.excluded * tstzmultirange(local.time)) AS each) AS excluded_s) AS length
 CROSS JOIN LATERAL (
       SELECT {_state_sums()},
              coalesce(sum(seconds.all_s) FILTER (WHERE stretch.state <> 'unknown'), 0) AS known_s,
              coalesce(sum(seconds.all_s) FILTER (WHERE stretch.coverage = 'observed'), 0) AS observed_s,
              coalesce(sum(seconds.closed_s) FILTER (WHERE stretch.state IN ('faulted', 'unavailable')), 0)
                  AS not_working_closed_s,
              coalesce(sum(seconds.closed_s) FILTER (WHERE stretch.state NOT IN ({_UNMEASURED})), 0)
                  AS measured_closed_s
         FROM analytics.evse_state_interval AS stretch
        CROSS JOIN LATERAL (
              SELECT local.time * tstzrange(
                     date_trunc('second', stretch.began_at), date_trunc('second', stretch.ended_at)) AS time) AS within
        CROSS JOIN LATERAL (
              SELECT coalesce(extract(epoch FROM upper(within.time) - lower(within.time)), 0) AS all_s,
                     (SELECT coalesce(sum(extract(epoch FROM upper(each) - lower(each))), 0)
                        FROM unnest(local.closed * tstzmultirange(within.time)) AS each) AS closed_s) AS seconds
        WHERE stretch.tenant = :tenant
          AND stretch.evse_id = local.evse_id
          AND stretch.began_at < local.ended_at
          AND stretch.began_at >= coalesce((
              SELECT max(earlier.began_at)
                FROM analytics.evse_state_interval AS earlier
               WHERE earlier.tenant = :tenant
                 AND earlier.evse_id = local.evse_id
                 AND earlier.began_at <= local.began_at), '-infinity')) AS states
"""  # noqa: S608 - the parts are ours
