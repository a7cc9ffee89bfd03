"""Evaluate the rules for what ``analytics.finding_due`` names, and empty it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import get_args

from sqlalchemy import RowMapping, text

from analytics.findings.due import DueScope, note_sessions, open_sessions, sessions_among
from analytics.findings.rules import RULES, ScopeName
from analytics.findings.rules.parts import LOOKBACK, concerns, sessions_during, stretch_at
from analytics.findings.spans import SPANS, Span, Spans, joined, spans_json, spans_of_rows
from analytics.findings.write import write_rule
from analytics.scope import Scope, history_weight, portion
from analytics.writing import Work

#: How long a note may wait while more changes are derived.
MAX_DELAY = timedelta(seconds=5)

#: The most notes that one transaction evaluates, and their greatest total weight; see history_weight().
MAX_NOTES = 2_000

_SCOPES_OF_EVSES = frozenset({"use", "state", "outage"})


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
    for open_session in open_sessions(sessions_among(work, during)):
        del during[open_session.session_id]
    note_sessions(work, during.keys() - noted["session"].keys())
    scopes: dict[ScopeName, Spans] = {
        "session": noted["session"],
        "use": _from_stretch_start(work, joined(noted["use"], states)),
        "outage": _from_outage_start(work, joined(noted["outage"], states)),
        "location": noted["location"],
    }
    for rule in RULES.values():
        write_rule(work, rule, scopes[rule.scope])


# Index: primary key.
_NOTED = text("""
SELECT due_id, scope, entity_id, evaluated_since, evaluated_until, noted_at
  FROM analytics.finding_due
 WHERE tenant = :tenant
 ORDER BY due_id
 LIMIT :limit
""")

# Index: primary key.
_DELETE_DUE = text("""
DELETE FROM analytics.finding_due
 WHERE tenant = :tenant
   AND due_id = ANY(:ids)
""")


def _take(work: Work, marked_at: datetime | None) -> dict[DueScope, Spans]:
    rows = [row for row in work.read(_NOTED, limit=MAX_NOTES) if marked_at is None or row["noted_at"] <= marked_at]
    rows = rows[: portion((_weight(work, row) for row in rows), MAX_NOTES)]
    work.connection.execute(_DELETE_DUE, {"tenant": work.tenant, "ids": [row["due_id"] for row in rows]})
    return {
        scope: joined(
            *(
                {row["entity_id"]: Span(row["evaluated_since"], row["evaluated_until"])}
                for row in rows
                if row["scope"] == scope
            )
        )
        for scope in get_args(DueScope)
    }


def _weight(work: Work, row: RowMapping) -> int:
    if row["scope"] not in _SCOPES_OF_EVSES:
        return 1
    return history_weight(row["evaluated_since"], work.now)


# Index: see stretch_at().
_FROM_STRETCH_START = text(f"""
SELECT span.evse_id, coalesce(stretch.began_at, span.since) AS since, span.until
  FROM {SPANS}
  LEFT JOIN LATERAL {stretch_at("span.evse_id", "span.since")} AS stretch ON true
""")  # noqa: S608 - the names are ours


def _from_stretch_start(work: Work, spans: Spans) -> Spans:
    """Return the spans, each from the beginning of the stretch in which it begins."""
    return spans_of_rows(work.read(_FROM_STRETCH_START, spans=spans_json(spans))) if spans else {}


# Indexes: primary keys of evse and outage; see concerns().
_FROM_OUTAGE_START = text(f"""
SELECT span.evse_id, nullif(least(span.since, outage.began_at, period.began_at), '-infinity') AS since, span.until
  FROM (SELECT evse_id, coalesce(since, '-infinity') AS since, until FROM {SPANS}) AS span
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
          AND {concerns("known", "evse")}
          AND known.started_at BETWEEN span.since - {LOOKBACK} AND span.since
          AND coalesce(known.ended_at, 'infinity') > span.since
        WHERE evse.tenant = :tenant
          AND evse.evse_id = span.evse_id) AS period
""")  # noqa: S608 - the names are ours


def _from_outage_start(work: Work, spans: Spans) -> Spans:
    """Return the spans, each from the beginning of the outage or the period that overlaps its beginning."""
    return spans_of_rows(work.read(_FROM_OUTAGE_START, spans=spans_json(spans))) if spans else {}


# Indexes: see sessions_during().
_SESSIONS_DURING = text(f"""
SELECT during.session_id
  FROM {SPANS}
 CROSS JOIN LATERAL (
       {sessions_during("span.evse_id", "coalesce(span.since, '-infinity')", "timestamptz 'infinity'")}) AS during
""")  # noqa: S608 - the names are ours


def _sessions_during(work: Work, states: Spans) -> Scope:
    """Return the sessions of EVSEs that end after the beginning of a span."""
    return work.read_ids(_SESSIONS_DURING, spans=spans_json(states)) if states else {}
