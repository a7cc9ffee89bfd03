"""Derive findings: evaluate the rules for what changed, and for what time alone makes wrong.

A finding is found first, may be found resolved, and may be found again; its row stays. A rule about an entity may
depend on other ones: on the sessions of an EVSE, on the charge points of a location. If such a row changes its place,
the place that it left is evaluated as well, so :func:`look_before` looks at it before anything is written.

A round that derives only notes in ``analytics.finding_due`` what is to be evaluated. A later transaction evaluates it,
once all changes from before that round are derived. So no round waits for rules, entities that change often are
evaluated once for all their changes, and a rule never compares an EVSE with sessions that are still to be derived.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import RowMapping, TextClause, text

from analytics.findings.rules import LOOKBACK, RULES, Rule, ScopeName, end_of, sessions_during
from analytics.schema.sessions import OPEN_SESSION
from analytics.scope import Scope, is_long_ago, merged, portion, whole
from analytics.writing import Work
from storage.documents import to_json

#: How often findings that time alone makes are looked for.
INTERVAL = timedelta(minutes=1)

#: How long what was noted may wait while more changes are derived.
MAX_DELAY = timedelta(seconds=5)

#: What is taken of that in one transaction: the most rows, and what they weigh together.
MAX_NOTES = 2_000

#: The weight of a row of years of an EVSE.
_WEIGHT_OF_HISTORY = 40

#: The most entities that are evaluated together, and the most EVSEs as a whole: one may have years of stretches.
MAX_ENTITIES = 1_000
MAX_WHOLE_EVSES = 50


class Running(NamedTuple):
    """An open session, and where it is."""

    session_id: int
    evse_id: int | None
    started_at: datetime | None
    has_cdrs: bool
    is_provisional: bool


class Span(NamedTuple):
    """A time of an entity; None: without a bound."""

    since: datetime | None
    until: datetime | None


#: What a round notes: the scopes of rules, and EVSEs whose states have changed, which concern several of them.
NotedScope = Literal["session", "use", "state", "outage", "location"]

_SCOPES_OF_EVSES = frozenset({"use", "state", "outage"})

#: Entities, each with the time of which findings are derived again.
Spans = dict[int, Span]

WHOLE = Span(None, None)


@dataclass(frozen=True, slots=True)
class Before:
    """What depended on the marked entities before they were derived.

    Attributes:
        sessions: the sessions, each with its EVSE and its time.
        outages: EVSEs, with the time of AMPECO's downtime.
        locations: locations of charge points.
        running: the sessions that were open, each with its place.
    """

    sessions: list[RowMapping] = field(default_factory=list)
    outages: Spans = field(default_factory=dict)
    locations: Scope = field(default_factory=dict)
    running: set[Running] = field(default_factory=set)


def look_before(work: Work) -> Before:
    """Note the places of the marked sessions, downtime periods and charge points before they are derived."""
    return Before(
        _places_of_sessions(work, work.marks("session")),
        _spans_of_periods(work, _marked_periods(work)),
        _locations_of(work, work.marks("charge_point")),
        _running(work, work.marks("session")),
    )


def note(work: Work, before: Before) -> None:
    """Note what is to be evaluated because of what was marked and what changed."""
    sessions = merged(work.marks("session"), work.changes("session"))
    # A running session changes all the time, so it is evaluated once a minute.
    for running in before.running & _running(work, sessions):
        del sessions[running.session_id]
    left = _spans(row for row in before.sessions if row["session_id"] in sessions)
    periods = merged(_marked_periods(work), work.changes("downtime_period"))
    charge_points = merged(work.marks("charge_point"), work.changes("charge_point"))
    noted: dict[NotedScope, Spans] = {
        "session": _wholes(sessions, _sessions_of_cdrs(work)),
        "use": _joined(left, _spans(_places_of_sessions(work, sessions)), _since(work.marks("evse"))),
        "state": _since(work.changes("evse_state_interval")),
        "outage": _joined(
            before.outages,
            _spans_of_periods(work, periods),
            _since(work.changes("outage")),
            _wholes(work.changes("evse"), work.marks("evse")),
        ),
        "location": _wholes(
            work.marks("location"), work.changes("location"), before.locations, _locations_of(work, charge_points)
        ),
    }
    _note(work, noted)


def note_by_time(work: Work) -> None:
    """Note open and provisional sessions, and EVSEs that are charging: time alone breaks some rules."""
    open_ = _rows(work, _OPEN)
    charging = {row["evse_id"]: Span(row["began_at"], row["began_at"]) for row in _rows(work, _CHARGING)}
    used = _spans(row for row in open_ if row["evse_id"] is not None)
    _note_sessions(work, {row["session_id"] for row in open_}.union(_ids(work, _PROVISIONAL)))
    _note(work, {"use": _joined(charging, used)})


# Index: primary key.
_NOTE = text("""
INSERT INTO analytics.finding_due (tenant, scope, entity_id, evaluated_since, evaluated_until, noted_at)
SELECT :tenant, scope, entity_id, evaluated_since, evaluated_until, :now
  FROM json_populate_recordset(NULL::analytics.finding_due, CAST(:rows AS json))
""")


def _note(work: Work, noted: Mapping[NotedScope, Spans]) -> None:
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


def _note_sessions(work: Work, sessions: Iterable[int]) -> None:
    """Note sessions that something else than their own change concerns, if they are not noted.

    A changed state may concern the sessions of years, which are evaluated in portions as well. Until then the states of
    the EVSE may change again and again, or minutes pass.
    """
    if ids := sorted(sessions):
        work.connection.execute(_NOTE_SESSIONS, {"tenant": work.tenant, "ids": ids, "now": work.now})


def are_due(now: datetime, noted_at: datetime | None, marked_at: datetime | None) -> bool:
    """Return whether what was noted is evaluated before more changes are derived.

    Parameters:
        now: the present time.
        noted_at: when the oldest of it was noted; None: nothing is.
        marked_at: when the oldest change was written that is still to be derived; None: there is none.
    """
    if noted_at is None or marked_at is None:
        return noted_at is not None
    return noted_at <= marked_at and now - noted_at >= MAX_DELAY


def evaluate(work: Work, marked_at: datetime | None) -> None:
    """Evaluate the rules for some of what was noted, the oldest first.

    Parameters:
        marked_at: when the oldest change was written that is still to be derived; what was noted later waits, because
            that change may belong to it. None: there is none.
    """
    noted = _take(work, marked_at)
    states = noted["state"]
    during = _sessions_during(work, states)
    for running in _running(work, during):
        del during[running.session_id]
    _note_sessions(work, during.keys() - noted["session"].keys())
    scopes: dict[ScopeName, Spans] = {
        "session": noted["session"],
        "use": _use(work, _joined(noted["use"], states)),
        "outage": _outages(work, _joined(noted["outage"], states)),
        "location": noted["location"],
    }
    for rule in RULES.values():
        _evaluate(work, rule, scopes[rule.scope])


# Index: primary key.
_NOTED = text("""
SELECT due_id, scope, entity_id, evaluated_since, evaluated_until, noted_at
  FROM analytics.finding_due
 WHERE tenant = :tenant
 ORDER BY due_id
 LIMIT :limit
""")

# Index: primary key.
_FORGET = text("""
DELETE FROM analytics.finding_due
 WHERE tenant = :tenant
   AND due_id = ANY(:ids)
""")


def _take(work: Work, marked_at: datetime | None) -> dict[NotedScope, Spans]:
    rows = [row for row in _rows(work, _NOTED, limit=MAX_NOTES) if marked_at is None or row["noted_at"] <= marked_at]
    rows = rows[: portion((_weight(work, row) for row in rows), MAX_NOTES)]
    work.connection.execute(_FORGET, {"tenant": work.tenant, "ids": [row["due_id"] for row in rows]})
    return {
        scope: _joined(
            *(
                {row["entity_id"]: Span(row["evaluated_since"], row["evaluated_until"])}
                for row in rows
                if row["scope"] == scope
            )
        )
        for scope in get_args(NotedScope)
    }


def _weight(work: Work, row: RowMapping) -> int:
    if row["scope"] not in _SCOPES_OF_EVSES:
        return 1
    return _WEIGHT_OF_HISTORY if is_long_ago(row["evaluated_since"], work.now) else 1


# Index: session_open_idx.
_OPEN = text(f"""
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


def _evaluate(work: Work, rule: Rule, spans: Spans) -> None:
    statement = _write_of_rule(rule)
    for part in _parts(rule, spans):
        parameters = {"scope": to_json(part), "rule": rule.name, "kind": rule.kind, "severity": rule.severity}
        work.write("finding", statement, parameters | {"now": work.now})


def _parts(rule: Rule, spans: Spans) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a rule's scope in parts."""
    rows = [
        {"entity_id": entity_id, "since": span.since, "until": span.until} for entity_id, span in sorted(spans.items())
    ]
    everything = [row for row in rows if row["since"] is None and rule.kind == "evse"]
    some = [row for row in rows if row["since"] is not None or rule.kind != "evse"]
    for part, size in ((everything, MAX_WHOLE_EVSES), (some, MAX_ENTITIES)):
        for first in range(0, len(part), size):
            yield part[first : first + size]


_SCOPE = "json_to_recordset(CAST(:scope AS json)) AS scope (entity_id bigint, since timestamptz, until timestamptz)"


def _is_in_scope(row: str) -> str:
    """Return the condition that a finding belongs to the scope; one without a time always does."""
    return f"""{row}.entity_id = scope.entity_id
   AND ({row}.began_at = '-infinity' OR {row}.began_at BETWEEN
        coalesce(scope.since, '-infinity') AND coalesce(scope.until, 'infinity'))"""


@cache
def _write_of_rule(rule: Rule) -> str:
    """Return the statement that makes the open findings of a scope those that a rule finds. Index: primary key.

    A finding that is resolved ends then, if it had no end. The first round of a tenant finds many thousands in a table
    of which Postgres knows nothing yet; LATERAL with OFFSET and NOT IN look each of them up, and compare no two lists.
    """
    return f"""
WITH scope AS MATERIALIZED (
    SELECT entity_id, since, until FROM {_SCOPE}
), found AS MATERIALIZED (
    SELECT DISTINCT ON (entity_id, began_at)
           broken.entity_id, broken.began_at, coalesce(broken.ended_at, 'infinity') AS ended_at, broken.evidence
      FROM ({rule.query}) AS broken
      JOIN scope ON {_is_in_scope("broken")}
     WHERE broken.began_at IS NOT NULL
     ORDER BY entity_id, began_at, ended_at DESC, evidence
), changed AS (
    SELECT found.entity_id,
           found.began_at,
           found.ended_at,
           CAST(:severity AS text) AS severity,
           found.evidence,
           CAST(NULL AS timestamptz) AS resolved_at
      FROM found
      LEFT JOIN LATERAL (
           SELECT tenant, resolved_at, ended_at, severity, evidence
             FROM analytics.finding
            WHERE finding.tenant = :tenant
              AND finding.rule = :rule
              AND finding.kind = :kind
              AND finding.entity_id = found.entity_id
              AND finding.began_at = found.began_at
           OFFSET 0) AS known ON true
     WHERE known.tenant IS NULL
        OR known.resolved_at IS NOT NULL
        OR (known.ended_at, known.severity, known.evidence) IS DISTINCT FROM
           (found.ended_at, CAST(:severity AS text), found.evidence)
     UNION ALL
    SELECT known.entity_id,
           known.began_at,
           CASE known.ended_at WHEN 'infinity' THEN greatest(known.began_at, CAST(:now AS timestamptz))
           ELSE known.ended_at END,
           known.severity,
           known.evidence,
           CAST(:now AS timestamptz)
      FROM scope
      JOIN analytics.finding AS known
        ON known.tenant = :tenant
       AND known.rule = :rule
       AND known.kind = :kind
       AND {_is_in_scope("known")}
     WHERE known.resolved_at IS NULL
       AND (known.entity_id, known.began_at) NOT IN (SELECT entity_id, began_at FROM found)
), written AS (
    INSERT INTO analytics.finding AS known (
        tenant, rule, kind, entity_id, began_at, ended_at, severity, evidence, first_seen_at, resolved_at,
        change_number, changed_at)
    SELECT :tenant, :rule, :kind, entity_id, began_at, ended_at, severity, evidence, :changed_at, resolved_at,
           CAST(:last AS bigint) + row_number() OVER (ORDER BY entity_id, began_at), :changed_at
      FROM changed
     ORDER BY entity_id, began_at
        ON CONFLICT (tenant, rule, kind, entity_id, began_at) DO UPDATE SET
           ended_at = excluded.ended_at,
           severity = excluded.severity,
           evidence = excluded.evidence,
           resolved_at = excluded.resolved_at,
           change_number = excluded.change_number,
           changed_at = excluded.changed_at
    RETURNING known.entity_id
)
SELECT entity_id, count(*), CAST(NULL AS timestamptz) FROM written GROUP BY entity_id
"""  # noqa: S608 - the names are ours


def _wholes(*scopes: Mapping[int, Any]) -> Spans:
    return {entity_id: WHOLE for scope in scopes for entity_id in scope}


def _since(scope: Scope) -> Spans:
    return {entity_id: Span(since, None) for entity_id, since in scope.items()}


def _spans(rows: Iterable[RowMapping]) -> Spans:
    """Return the spans of rows with ``evse_id``, ``since`` and ``until``."""
    return _joined(*({row["evse_id"]: Span(row["since"], row["until"])} for row in rows))


def _joined(*spans: Spans) -> Spans:
    """Return for each entity the span that contains all of its spans."""
    joined: Spans = {}
    for some in spans:
        for entity_id, span in some.items():
            known = joined.get(entity_id, span)
            joined[entity_id] = Span(
                None if known.since is None or span.since is None else min(known.since, span.since),
                None if known.until is None or span.until is None else max(known.until, span.until),
            )
    return joined


def _rows(work: Work, statement: TextClause, **parameters: Any) -> list[RowMapping]:
    return list(work.connection.execute(statement, {"tenant": work.tenant, **parameters}).mappings())


def _ids(work: Work, statement: TextClause, **parameters: Any) -> Scope:
    return whole(work.connection.execute(statement, {"tenant": work.tenant, **parameters}).scalars())


# Index: primary key.
_RUNNING = text(f"""
SELECT session_id, evse_id, started_at, cdr_ids IS NOT NULL AS has_cdrs, provisional
  FROM analytics.session
 WHERE tenant = :tenant
   AND session_id = ANY(:ids)
   AND {OPEN_SESSION}
   AND removed_at IS NULL
""")  # noqa: S608 - the names are ours


def _running(work: Work, sessions: Scope) -> set[Running]:
    """Return those of some sessions that are open, each with its place."""
    if not sessions:
        return set()
    rows = work.connection.execute(_RUNNING, {"tenant": work.tenant, "ids": sorted(sessions)})
    return {Running(*row) for row in rows}


# Index: primary key.
_PLACES_OF_SESSIONS = text(f"""
SELECT session.session_id,
       session.evse_id,
       session.started_at AS since,
       nullif(greatest({end_of("session")}, session.started_at), 'infinity') AS until
  FROM analytics.session AS session
 WHERE session.tenant = :tenant
   AND session.session_id = ANY(:ids)
   AND session.evse_id IS NOT NULL
   AND session.started_at IS NOT NULL
""")  # noqa: S608 - the names are ours


def _places_of_sessions(work: Work, sessions: Scope) -> list[RowMapping]:
    """Return sessions with EVSE and time."""
    return _rows(work, _PLACES_OF_SESSIONS, ids=sorted(sessions)) if sessions else []


# Index: primary key of evse_state_interval backwards from the beginning of a span.
_STRETCHES = text("""
SELECT span.evse_id, coalesce(stretch.began_at, span.since) AS since, span.until
  FROM json_to_recordset(CAST(:spans AS json)) AS span (evse_id bigint, since timestamptz, until timestamptz)
  LEFT JOIN LATERAL (
       SELECT known.began_at
         FROM analytics.evse_state_interval AS known
        WHERE known.tenant = :tenant
          AND known.evse_id = span.evse_id
          AND known.began_at <= span.since
        ORDER BY known.began_at DESC
        LIMIT 1) AS stretch ON true
""")


def _use(work: Work, spans: Spans) -> Spans:
    """Return the spans, each from the beginning of the stretch in which it begins."""
    return _spans(_rows(work, _STRETCHES, spans=_document(spans))) if spans else {}


def _document(spans: Spans) -> str:
    return to_json([{"evse_id": evse_id, "since": span.since, "until": span.until} for evse_id, span in spans.items()])


# Indexes: see sessions_during().
_SESSIONS_DURING = text(f"""
SELECT during.session_id
  FROM json_to_recordset(CAST(:spans AS json)) AS span (evse_id bigint, since timestamptz, until timestamptz)
 CROSS JOIN LATERAL (
       {sessions_during("span.evse_id", "coalesce(span.since, '-infinity')", "timestamptz 'infinity'")}) AS during
""")  # noqa: S608 - the names are ours


def _sessions_during(work: Work, states: Spans) -> Scope:
    """Return the sessions of EVSEs that end after the beginning of a span."""
    return _ids(work, _SESSIONS_DURING, spans=_document(states)) if states else {}


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
    return _ids(work, _SESSIONS_OF_CDRS, ids=sorted(cdrs)) if cdrs else {}


# Index: primary key.
_LOCATIONS_OF = text("""
SELECT DISTINCT location_id
  FROM analytics.charge_point
 WHERE tenant = :tenant
   AND charge_point_id = ANY(:ids)
   AND location_id IS NOT NULL
""")


def _locations_of(work: Work, charge_points: Scope) -> Scope:
    return _ids(work, _LOCATIONS_OF, ids=sorted(charge_points)) if charge_points else {}


def _marked_periods(work: Work) -> Scope:
    return merged(work.marks("evse_downtime_period"), work.marks("charge_point_downtime_period"))


# Indexes: primary key, once for each kind of period; evse_tenant_charge_point_id_idx.
_SPANS_OF_PERIODS = text("""
SELECT evse.evse_id, period.started_at AS since, CAST(NULL AS timestamptz) AS until
  FROM analytics.downtime_period AS period
  JOIN analytics.evse AS evse
    ON evse.tenant = :tenant
   AND evse.charge_point_id = period.charge_point_id
   AND (period.evse_id IS NULL OR period.evse_id = evse.evse_id)
 WHERE period.tenant = :tenant
   AND period.subject IN ('evse', 'charge_point')
   AND period.downtime_period_id = ANY(:ids)
   AND period.started_at IS NOT NULL
""")


def _spans_of_periods(work: Work, periods: Scope) -> Spans:
    return _spans(_rows(work, _SPANS_OF_PERIODS, ids=sorted(periods))) if periods else {}


def _outages(work: Work, spans: Spans) -> Spans:
    """Return the spans, each from the beginning of the outage or the period that overlaps its beginning."""
    return _spans(_rows(work, _OVERLAPPING, spans=_document(spans))) if spans else {}


# Indexes: primary keys of evse and outage; downtime_period_tenant_charge_point_id_started_at_idx.
_OVERLAPPING = text(f"""
SELECT span.evse_id, nullif(least(span.since, outage.began_at, period.began_at), '-infinity') AS since, span.until
  FROM (SELECT evse_id, coalesce(since, '-infinity') AS since, until
          FROM json_to_recordset(CAST(:spans AS json)) AS given (evse_id bigint, since timestamptz, until timestamptz)
       ) AS span
  LEFT JOIN LATERAL (
       SELECT known.began_at
         FROM analytics.outage AS known
        WHERE known.tenant = :tenant
          AND known.evse_id = span.evse_id
          AND known.began_at <= span.since
        ORDER BY known.began_at DESC
        LIMIT 1) AS outage ON true
 CROSS JOIN LATERAL (
       SELECT min(known.started_at) AS began_at
         FROM analytics.evse AS evse
         JOIN analytics.downtime_period AS known
           ON known.tenant = :tenant
          AND known.charge_point_id = evse.charge_point_id
          AND known.started_at BETWEEN span.since - {LOOKBACK} AND span.since
          AND coalesce(known.ended_at, 'infinity') > span.since
        WHERE evse.tenant = :tenant
          AND evse.evse_id = span.evse_id) AS period
""")  # noqa: S608 - the names are ours
