"""Derive availability: downtime periods, outages with what is let out of them, days and months of EVSEs.

Each row depends on the states of its EVSE, on where the EVSE is, and on the periods, entries, sessions, attempts and
energy of its time. A change of any of them leads to the EVSE, and to the time from which on its rows are derived again.
Days and months end without a change: ``analytics.availability_progress`` has for each EVSE when the next one does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, text

from analytics.availability import days, downtime, outages, uptime
from analytics.availability.days import Span
from analytics.availability.places import Place, forget_progress, load_places, note_progress
from analytics.scope import Reach, Scope, merged, parts, scope_json, scope_sql, whole, widen
from analytics.states.derive import evses_of
from analytics.writing import Work
from storage.state.marks import OPERATOR_EXCLUSION

#: The most EVSEs that are derived together, from the time of a change on or as a whole.
MAX_RECENT = 500
MAX_WHOLE = 10

#: What is counted in days, beside the states.
_COUNTED = ("session", "charge_attempt", "energy_interval")


def derive(work: Work) -> None:
    """Derive the availability of the EVSEs that changed, and of those for which a day or a month has ended."""
    periods = downtime.derive(work)
    everything = whole(evse_id for evse_id, since in work.marks("evse").items() if since is None)
    states = merged(work.changes("evse_state_interval"), everything)
    errors = merged(work.marks("evse_status"), evses_of(work, work.marks("charge_point_status")))
    of_outages = merged(states, errors, periods, _entered(work), _before_sessions(work))
    touched = [work.touches(table) for table in _COUNTED]
    of_days = merged(states, *(_since(each) for each in touched))
    due = set(_ids(work, _DUE, now=work.now))
    candidates = {*of_outages, *of_days, *due, *_moved(work)}
    places = load_places(work, sorted(candidates))
    for evse_id in candidates:
        place = places.get(evse_id)
        if place is None or not place.is_same:
            of_outages[evse_id] = of_days[evse_id] = None
        elif evse_id in due:
            widen(of_days, evse_id, place.days_until_at)
    # What is counted in a day changes no later day; a change of states may.
    last = {
        evse_id: max(each[evse_id].until for each in touched if evse_id in each)
        for evse_id, since in of_days.items()
        if since is not None and evse_id not in states and evse_id not in due
    }
    for part in _portions(of_outages, of_days):
        known = {evse_id: places[evse_id] for evse_id in part if evse_id in places}
        _derive_days(work, known, _only(of_outages, part), _only(of_days, part), last, due, set(periods))
        forget_progress(work, [evse_id for evse_id in part if evse_id not in places])


def _portions(*scopes: Scope) -> list[list[int]]:
    """Divide EVSEs into portions that are derived together; a whole EVSE takes more than its last days."""
    every = merged(*scopes)
    entire = sorted(evse_id for evse_id, since in every.items() if since is None)
    recent = sorted(every.keys() - set(entire))
    return [*parts(entire, MAX_WHOLE), *parts(recent, MAX_RECENT)]


def _derive_days(
    work: Work,
    places: Mapping[int, Place],
    of_outages: Scope,
    of_days: Scope,
    last: Mapping[int, datetime],
    due: set[int],
    periods: set[int],
) -> None:
    """Derive the outages, and then the days and months that depend on them, of some EVSEs.

    Parameters:
        places: where the EVSEs are.
        of_outages: those whose outages may differ, each with the time from which on.
        of_days: those whose days may differ, likewise.
        last: the latest time up to which they may, unless exclusions change; of the others it is not known.
        due: the EVSEs for which a day or a month has ended.
        periods: the EVSEs of which AMPECO's downtime periods have changed.
    """
    ended: Scope = {
        evse_id: place.days_until_at
        for evse_id, place in places.items()
        if evse_id in due and place.openings is not None
    }
    outages.derive(work, places, of_outages, ended)
    excluded = _only(work.changes("exclusion"), {*of_outages, *ended})
    of_days = merged(of_days, excluded)
    until = {evse_id: last[evse_id] for evse_id in of_days if evse_id in last and evse_id not in excluded}
    spans = days.derive(work, places, of_days, until)
    months = {evse_id for evse_id, since in of_days.items() if since is None} | (periods & of_outages.keys())
    changed = _only(work.changes("evse_day"), of_days)
    for evse_id, span in spans.items():
        due_at = places[evse_id].due_at
        has_ended = evse_id in due and due_at is not None and due_at <= span.month_began_at
        if has_ended or (evse_id in changed and _is_before(changed[evse_id], span)):
            months.add(evse_id)
    uptime.derive(work, places, whole(sorted(months)))
    dates = {evse_id: (span.days_until_at, span.due_at) for evse_id, span in spans.items()}
    note_progress(work, {evse_id: places[evse_id] for evse_id in of_days if evse_id in places}, dates)


def _since(reaches: Mapping[int, Reach]) -> Scope:
    return {evse_id: reach.since for evse_id, reach in reaches.items()}


def _is_before(since: datetime | None, span: Span) -> bool:
    """Return whether a change is in a month that is over."""
    return since is None or since < span.month_began_at


def _only(scope: Scope, evse_ids: Collection[int]) -> Scope:
    return {evse_id: scope[evse_id] for evse_id in evse_ids if evse_id in scope}


def _ids(work: Work, statement: TextClause, **parameters: Any) -> list[int]:
    return list(work.connection.execute(statement, {"tenant": work.tenant, **parameters}).scalars())


# Index: availability_progress_tenant_due_at_idx.
_DUE = text("""
SELECT evse_id
  FROM analytics.availability_progress
 WHERE tenant = :tenant
   AND due_at <= :now
""")


def _moved(work: Work) -> set[int]:
    """Return the EVSEs that may have another charge point, location, time zone or other opening hours."""
    moved = set(work.changes("evse"))
    locations = work.changes("location")
    return moved | set(_ids(work, _EVSES_AT, ids=sorted(locations))) if locations else moved


# Index: evse_tenant_location_id_idx.
_EVSES_AT = text("""
SELECT evse_id
  FROM analytics.evse
 WHERE tenant = :tenant
   AND location_id = ANY(:ids)
""")


def _entered(work: Work) -> Scope:
    """Return the EVSEs that are covered by what operators entered or withdrew, each with the time from which on."""
    entries = work.marks(OPERATOR_EXCLUSION)
    if not entries:
        return {}
    scope: Scope = {}
    rows = work.connection.execute(_COVERED, {"tenant": work.tenant, "ids": sorted(entries)})
    for evse_id, began_at in rows:
        widen(scope, evse_id, began_at)
    return scope


# Indexes: primary keys, evse_tenant_charge_point_id_idx and evse_tenant_location_id_idx.
_COVERED = text("""
SELECT evse.evse_id, entry.began_at
  FROM charging.operator_exclusion AS entry
  JOIN analytics.evse AS evse
    ON evse.tenant = :tenant
   AND (evse.evse_id = entry.evse_id
        OR evse.charge_point_id = entry.charge_point_id
        OR evse.location_id = entry.location_id)
 WHERE entry.tenant = :tenant
   AND entry.exclusion_id = ANY(:ids)
""")


def _before_sessions(work: Work) -> Scope:
    """Return the EVSEs of changed sessions, each with the start of the session before: outages since then name it."""
    touched = work.touches("session")
    if not touched:
        return {}
    rows = work.connection.execute(_SESSIONS_BEFORE, {"tenant": work.tenant, "scope": scope_json(_since(touched))})
    return {row.evse_id: row.since for row in rows}


# Index: session_tenant_evse_id_started_at_idx.
_SESSIONS_BEFORE = text(f"""
SELECT scope.entity_id AS evse_id,
       (SELECT max(session.started_at)
          FROM analytics.session AS session
         WHERE session.tenant = :tenant
           AND session.evse_id = scope.entity_id
           AND session.started_at < scope.since) AS since
  FROM {scope_sql()}
""")  # noqa: S608 - the names are ours
