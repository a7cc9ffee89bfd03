"""Load what is known of sessions and their samples, and derive their energy by quarter of an hour from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from analytics.energy.intervals import (
    ENERGY_CONSUMED,
    ENERGY_REGISTER,
    POINT_ENERGY,
    POINT_POWER,
    POWER,
    AnySample,
    Session,
    intervals,
)
from analytics.retention import may_lack_samples
from analytics.schema.sessions import energy_interval
from analytics.scope import merged, parts, portion, whole
from analytics.writing import Work

#: The most sessions that are loaded together.
MAX_SESSIONS = 200

#: The most samples that are in memory together, half a KiB each, unless one session has more: a session over night that
#: sends some every ten seconds has ten thousand.
MAX_SAMPLES = 50_000

#: The samples of so few sessions are not counted first.
FEW_SESSIONS = 10


@dataclass(frozen=True, slots=True)
class _Stored:
    """A session that exists.

    Attributes:
        session: what its energy is divided by.
        has_rows: whether its energy is divided already.
        is_kept: whether that division stays, because samples that it depends on may have been dropped.
        meter_at: of when what is known of its meter is.
    """

    session: Session
    has_rows: bool
    is_kept: bool
    meter_at: datetime | None


def derive(work: Work) -> None:
    """Derive the energy of the sessions that changed, or that have new samples."""
    scope = merged(work.changes("session"), work.marks("session"))
    for part in parts(sorted(scope), MAX_SESSIONS):
        stored = _load(work, part)
        same = [session_id for session_id in part if session_id in stored and _is_same(work, stored[session_id])]
        work.write_query(energy_interval, whole(same), _AS_BEFORE)
        others = whole(sorted(set(part) - set(same)))
        sessions = [stored[session_id].session for session_id in others if session_id in stored]
        work.write_rows(energy_interval, others, _rows(work, sessions))


def _is_same(work: Work, stored: _Stored) -> bool:
    """Return whether the energy of a session is divided already, and nothing of what it depends on has changed.

    A running session gets samples much more often than another energy. What is later than its energy is not looked at.
    """
    session, marked = stored.session, work.marks("session")
    if not stored.has_rows or session.session_id not in marked:
        return stored.has_rows
    if stored.is_kept:
        return True
    since, ends = marked[session.session_id], (session.started_at, session.state_at)
    if session.stopped_at is not None or since is None:
        return False
    is_of_meter = stored.meter_at is not None and since <= stored.meter_at
    return not is_of_meter and all(end is not None and since > end for end in ends)


# Index: primary keys. The division of another energy than now is not kept: quarters always add up to the session.
_SESSIONS = text(f"""
SELECT session.session_id,
       derived.evse_id,
       derived.location_id,
       derived.timezone,
       session.started_at,
       session.stopped_at,
       session.state_at,
       session.energy_wh,
       session.meter_start_wh,
       session.meter_stop_wh,
       EXISTS (
           SELECT FROM analytics.energy_interval AS known
            WHERE known.tenant = :tenant
              AND known.session_id = session.session_id) AS has_rows,
       coalesce({may_lack_samples("session")} AND (
           SELECT sum(known.energy_wh)
             FROM analytics.energy_interval AS known
            WHERE known.tenant = :tenant
              AND known.session_id = session.session_id) = round(session.energy_wh, 3), false) AS is_kept,
       session.meter_at
  FROM analytics.session AS derived
  JOIN charging.session AS session
    ON session.tenant = :tenant
   AND session.session_id = derived.session_id
 WHERE derived.tenant = :tenant
   AND derived.session_id = ANY(:session_ids)
""")  # noqa: S608 - the names are ours

# Index: unique constraints of both tables, that of meter_value in each month, because samples that are dated outside of
# the session are anomalies.
_SAMPLES = text(f"""
SELECT session_id, measured_at, measurand, value, unit
  FROM charging.meter_value
 WHERE tenant = :tenant
   AND session_id = ANY(:session_ids)
   AND measurand = ANY(:measurands)
 UNION ALL
SELECT session_id, measured_at, '{POINT_ENERGY}', energy_wh, NULL
  FROM charging.consumption_point
 WHERE tenant = :tenant
   AND session_id = ANY(:session_ids)
   AND energy_wh IS NOT NULL
 UNION ALL
SELECT session_id, measured_at, '{POINT_POWER}', power_w, NULL
  FROM charging.consumption_point
 WHERE tenant = :tenant
   AND session_id = ANY(:session_ids)
   AND power_w IS NOT NULL
""")  # noqa: S608 - the names are ours

# Index: primary keys.
_AS_BEFORE = """
SELECT known.session_id,
       known.began_at,
       session.evse_id,
       session.location_id,
       session.timezone,
       known.duration_s,
       known.energy_wh,
       known.estimated_wh,
       known.power_peak_w,
       known.method,
       known.anomalies
  FROM scope
  JOIN analytics.session AS session
    ON session.tenant = :tenant
   AND session.session_id = scope.entity_id
  JOIN analytics.energy_interval AS known
    ON known.tenant = :tenant
   AND known.session_id = scope.entity_id
"""


# Index: unique constraint, in each month. The points of consumption statistics are few beside the samples.
_COUNTS = text("""
SELECT session_id, count(*)
  FROM charging.meter_value
 WHERE tenant = :tenant
   AND session_id = ANY(:session_ids)
   AND measurand = ANY(:measurands)
 GROUP BY session_id
""")


def _load(work: Work, session_ids: Sequence[int]) -> dict[int, _Stored]:
    parameters = {"tenant": work.tenant, "session_ids": list(session_ids)}
    return {row[0]: _Stored(Session(*row[:-3]), *row[-3:]) for row in work.connection.execute(_SESSIONS, parameters)}


def _rows(work: Work, sessions: Sequence[Session]) -> list[dict[str, Any]]:
    divided = [session for session in sessions if session.has_energy]
    return [row for part in _of_few_samples(work, divided) for row in _divide(work, part)]


def _of_few_samples(work: Work, sessions: Sequence[Session]) -> Iterator[Sequence[Session]]:
    """Yield the sessions in parts, each with at most ``MAX_SAMPLES`` samples or of one session."""
    counts: dict[int, int] = {}
    if len(sessions) > FEW_SESSIONS:
        counts |= {row[0]: row[1] for row in work.connection.execute(_COUNTS, _parameters(work, sessions))}
    while sessions:
        size = portion((counts.get(session.session_id, 0) for session in sessions), MAX_SAMPLES)
        yield sessions[:size]
        sessions = sessions[size:]


def _divide(work: Work, sessions: Sequence[Session]) -> Iterator[dict[str, Any]]:
    """Yield the energy of sessions by quarter of an hour."""
    samples: dict[int, list[AnySample]] = {session.session_id: [] for session in sessions}
    for row in work.connection.execute(_SAMPLES, _parameters(work, sessions)).all():
        samples[row[0]].append(row[1:])
    for session in sessions:
        yield from intervals(session, samples.pop(session.session_id))


def _parameters(work: Work, sessions: Sequence[Session]) -> dict[str, Any]:
    return {
        "tenant": work.tenant,
        "session_ids": [session.session_id for session in sessions],
        "measurands": [ENERGY_CONSUMED, ENERGY_REGISTER, POWER],
    }
