"""Note in ``analytics.finding_due`` what is to be evaluated: what a round changed, and what time alone makes wrong.

A rule about an entity may depend on other ones: on the sessions of an EVSE, on the charge points of a location. If such
a row changes its place, the place that it left is evaluated as well, so :func:`look_before` looks at it before anything
is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from sqlalchemy import RowMapping, text

from analytics.findings.rules.parts import concerns, end_of
from analytics.findings.spans import Span, Spans, joined, spans_from, spans_of_rows, whole_spans
from analytics.schema.sessions import OPEN_SESSION
from analytics.scope import Scope, merged
from analytics.writing import Work
from storage.documents import to_json

#: How often open and provisional sessions, and EVSEs that are charging, are noted: time alone may break their rules.
INTERVAL = timedelta(minutes=1)

#: What a round notes: the scopes of rules, and EVSEs whose states have changed, which concern several of them.
DueScope = Literal["session", "use", "state", "outage", "location"]


class OpenSession(NamedTuple):
    """An open session, and where it is."""

    session_id: int
    evse_id: int | None
    started_at: datetime | None
    has_cdrs: bool
    is_provisional: bool


@dataclass(frozen=True, slots=True)
class Before:
    """What depended on the marked entities before they were derived.

    Attributes:
        sessions: the sessions; see sessions_among().
        outages: EVSEs, with the time of AMPECO's downtime.
        locations: locations of charge points.
    """

    sessions: list[RowMapping] = field(default_factory=list)
    outages: Spans = field(default_factory=dict)
    locations: Scope = field(default_factory=dict)


def look_before(work: Work) -> Before:
    """Note the places of the marked sessions, downtime periods and charge points before they are derived."""
    return Before(
        sessions_among(work, work.marks("session")),
        _spans_of_periods(work, _marked_periods(work)),
        _locations_of(work, work.marks("charge_point")),
    )


def note_changes(work: Work, before: Before) -> None:
    """Note what is to be evaluated because of what was marked and what changed."""
    sessions = merged(work.marks("session"), work.changes("session"))
    now_known = sessions_among(work, sessions)
    # A running session changes all the time, so it is evaluated once a minute.
    for still_open in open_sessions(before.sessions) & open_sessions(now_known):
        del sessions[still_open.session_id]
    periods = merged(_marked_periods(work), work.changes("downtime_period"))
    charge_points = merged(work.marks("charge_point"), work.changes("charge_point"))
    noted: dict[DueScope, Spans] = {
        "session": whole_spans(sessions, _sessions_of_cdrs(work)),
        "use": joined(
            *(spans_of_rows(_used(rows, sessions)) for rows in (before.sessions, now_known)),
            spans_from(work.marks("evse")),
        ),
        "state": spans_from(work.changes("evse_state_interval")),
        "outage": joined(
            before.outages,
            _spans_of_periods(work, periods),
            spans_from(work.changes("outage")),
            whole_spans(work.changes("evse"), work.marks("evse")),
        ),
        "location": whole_spans(
            work.marks("location"), work.changes("location"), before.locations, _locations_of(work, charge_points)
        ),
    }
    _note(work, noted)


# Index: session_open_idx.
_ALL_OPEN = text(f"""
SELECT session_id, evse_id, started_at AS since, CAST(NULL AS timestamptz) AS until
  FROM analytics.session
 WHERE tenant = :tenant
   AND {OPEN_SESSION}
   AND removed_at IS NULL
""")  # noqa: S608 - the names are ours

# Index: session_provisional_idx.
_PROVISIONAL = text("""
SELECT session_id
  FROM analytics.session
 WHERE tenant = :tenant
   AND provisional
   AND removed_at IS NULL
""")

# Index: evse_state_interval_open_idx.
_CHARGING = text("""
SELECT evse_id, began_at
  FROM analytics.evse_state_interval
 WHERE tenant = :tenant
   AND ended_at = 'infinity'
   AND state = 'charging'
""")


def note_by_time(work: Work) -> None:
    """Note open and provisional sessions, and EVSEs that are charging: time alone breaks some rules."""
    open_ = work.read(_ALL_OPEN)
    charging = {row["evse_id"]: Span(row["began_at"], row["began_at"]) for row in work.read(_CHARGING)}
    used = spans_of_rows(row for row in open_ if row["evse_id"] is not None)
    note_sessions(work, {row["session_id"] for row in open_}.union(work.read_ids(_PROVISIONAL)))
    _note(work, {"use": joined(charging, used)})


# Index: primary key.
_NOTE = text("""
INSERT INTO analytics.finding_due (tenant, scope, entity_id, evaluated_since, evaluated_until, noted_at)
SELECT :tenant, scope, entity_id, evaluated_since, evaluated_until, :now
  FROM json_populate_recordset(NULL::analytics.finding_due, CAST(:rows AS json))
""")


def _note(work: Work, noted: Mapping[DueScope, Spans]) -> None:
    rows = [
        {"scope": scope, "entity_id": entity_id, "evaluated_since": span.since, "evaluated_until": span.until}
        for scope, spans in noted.items()
        for entity_id, span in spans.items()
    ]
    if rows:
        work.connection.execute(_NOTE, {"tenant": work.tenant, "rows": to_json(rows), "now": work.now})


# Index: finding_due_session_idx.
_NOTE_SESSIONS = text("""
INSERT INTO analytics.finding_due (tenant, scope, entity_id, noted_at)
SELECT :tenant, 'session', session_id, :now
  FROM unnest(CAST(:ids AS bigint[])) AS session (session_id)
 WHERE NOT EXISTS (
       SELECT
         FROM analytics.finding_due AS noted
        WHERE noted.tenant = :tenant
          AND noted.scope = 'session'
          AND noted.entity_id = session.session_id)
""")


def note_sessions(work: Work, sessions: Iterable[int]) -> None:
    """Note sessions that are to be evaluated although they have not changed, except those that are noted already.

    A changed state of an EVSE may concern its sessions of years, and time alone concerns all open ones. They are
    evaluated in portions; before their turn comes, the states may change again and again, and more minutes pass.
    """
    if ids := sorted(sessions):
        work.connection.execute(_NOTE_SESSIONS, {"tenant": work.tenant, "ids": ids, "now": work.now})


# Index: primary key.
_SESSIONS_AMONG = text(f"""
SELECT session_id, evse_id, started_at,
       started_at AS since,
       nullif(greatest({end_of("session")}, started_at), 'infinity') AS until,
       cdr_ids IS NOT NULL AS has_cdrs,
       provisional AS is_provisional,
       {OPEN_SESSION} AND removed_at IS NULL AS is_open
  FROM analytics.session AS session
 WHERE tenant = :tenant
   AND session_id = ANY(:ids)
""")  # noqa: S608 - the names are ours


def sessions_among(work: Work, sessions: Scope) -> list[RowMapping]:
    """Return what is derived of some sessions: the EVSE, the time, and whether each is open."""
    return work.read(_SESSIONS_AMONG, ids=sorted(sessions)) if sessions else []


def open_sessions(rows: Iterable[RowMapping]) -> set[OpenSession]:
    """Return those of some sessions that are open, each with its place; see :func:`sessions_among`."""
    return {OpenSession(*(row[name] for name in OpenSession._fields)) for row in rows if row["is_open"]}


def _used(rows: Iterable[RowMapping], sessions: Scope) -> Iterator[RowMapping]:
    """Yield the rows of some sessions that name an EVSE and a time."""
    for row in rows:
        if row["session_id"] in sessions and row["evse_id"] is not None and row["since"] is not None:
            yield row


# Index: session_cdr_idx.
_SESSIONS_OF_CDRS = text("""
SELECT DISTINCT session.session_id
  FROM unnest(CAST(:ids AS bigint[])) AS cdr (cdr_id)
  JOIN analytics.session AS session
    ON session.tenant = :tenant
   AND session.cdr_ids @> to_jsonb(cdr.cdr_id)
 WHERE session.cdr_ids IS NOT NULL
""")


def _sessions_of_cdrs(work: Work) -> Scope:
    """Return the sessions of marked CDRs."""
    cdrs = work.marks("cdr")
    return work.read_ids(_SESSIONS_OF_CDRS, ids=sorted(cdrs)) if cdrs else {}


# Index: primary key.
_LOCATIONS_OF = text("""
SELECT DISTINCT location_id
  FROM analytics.charge_point
 WHERE tenant = :tenant
   AND charge_point_id = ANY(:ids)
   AND location_id IS NOT NULL
""")


def _locations_of(work: Work, charge_points: Scope) -> Scope:
    return work.read_ids(_LOCATIONS_OF, ids=sorted(charge_points)) if charge_points else {}


def _marked_periods(work: Work) -> Scope:
    return merged(work.marks("evse_downtime_period"), work.marks("charge_point_downtime_period"))


# Indexes: primary keys, that of the periods once for each kind; evse_tenant_charge_point_id_idx.
_SPANS_OF_PERIODS = text(f"""
SELECT evse.evse_id, period.started_at AS since, CAST(NULL AS timestamptz) AS until
  FROM analytics.downtime_period AS period
  JOIN analytics.evse AS evse
    ON evse.tenant = :tenant
   AND {concerns("period", "evse")}
 WHERE period.tenant = :tenant
   AND period.subject IN ('evse', 'charge_point')
   AND period.downtime_period_id = ANY(:ids)
   AND period.started_at IS NOT NULL
""")  # noqa: S608 - the names are ours


def _spans_of_periods(work: Work, periods: Scope) -> Spans:
    return spans_of_rows(work.read(_SPANS_OF_PERIODS, ids=sorted(periods))) if periods else {}
