"""Derive again what changed: take a tenant's marks, recompute the entities that they name, and write what differs.

One transaction is one round. It locks the tenant's row of ``analytics.feed`` first, so that one process at a time
derives for a tenant. The marks are deleted before the state is read: a change that commits in between is read as well,
and its mark stays for the next round.

Findings are evaluated in rounds of their own: when nothing is marked any more, or when they have waited for some
seconds, and never before what else was marked when they were noted is derived.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

from sqlalchemy import Connection, Engine, RowMapping, text

from analytics import master
from analytics.availability import derive as availability
from analytics.energy import derive as energy
from analytics.findings import due
from analytics.findings.evaluate import are_due, evaluate
from analytics.scope import history_weight, portion, widen
from analytics.sessions import attempts, sessions
from analytics.states import derive as states
from analytics.states.stretches import Period, gaps_between
from analytics.writing import Work
from storage.monitoring.uptime import MAX_PAUSE, periods_alive
from storage.state.marks import STATUS, STATUS_KINDS

#: What a round takes at most, so that a backlog is derived in short transactions: entities that the marks name, some of
#: which count as several, and marks. Several marks of one entity cost one derivation.
MAX_ENTITIES = 2_000
MAX_MARKS = 8_000

#: The kinds of marks that change the states of EVSEs: marks of EVSEs, and of the charge points that have them. One from
#: long ago may take years of an EVSE's states to derive; see history_weight().
_WITH_HISTORY = frozenset({f"{kind}{suffix}" for kind in STATUS_KINDS for suffix in ("", STATUS)})


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did.

    Attributes:
        marks: how many marks it took.
        changes: how many rows it changed or removed.
        lag: how long ago the oldest of its marks was written; None if there was none.
        is_done: whether nothing was left, neither a mark nor a finding to evaluate.
        has_more_marks: whether marks were left.
        hit_limit: whether it took as many marks as a round may.
        entities: how many entities its marks name; several marks of one cost one derivation.
    """

    marks: int
    changes: int
    lag: timedelta | None
    is_done: bool
    has_more_marks: bool
    hit_limit: bool
    entities: int


def derive_round(engine: Engine, tenant: str) -> Round | None:
    """Derive some of what is marked for a tenant, or evaluate findings of it; return None if another process does."""
    with engine.begin() as connection:
        feed = _lock_feed(connection, tenant)
        if feed is None:
            return None
        now: datetime = connection.execute(text("SELECT now()")).scalar_one()
        connection.execute(_REFRESH_STATISTICS)
        work = Work(connection, tenant, now, feed["last_change_number"])
        marked_at, noted_at = _oldest(work)
        if are_due(now, noted_at, marked_at):
            evaluate(work, marked_at)
            connection.execute(_COUNT_ON, {"tenant": tenant, "last": work.last})
            taken = _Taken((), hit_limit=False)
        else:
            taken = _derive(work, feed)
        marked_at, noted_at = _oldest(work)
    lag = now - min(mark["marked_at"] for mark in taken.marks) if taken.marks else None
    return Round(
        marks=len(taken.marks),
        changes=work.last - feed["last_change_number"],
        lag=lag,
        is_done=marked_at is None and noted_at is None,
        has_more_marks=marked_at is not None,
        hit_limit=taken.hit_limit,
        entities=sum(map(len, work.marked.values())),
    )


class _Taken(NamedTuple):
    """The marks that a round took, and whether they are as many as a round may take."""

    marks: Sequence[RowMapping]
    hit_limit: bool


def _derive(work: Work, feed: RowMapping) -> _Taken:
    """Derive what some marks name; return what was taken."""
    connection, now = work.connection, work.now
    taken = _take(work)
    gaps = gaps_between(periods_alive(connection), now, MAX_PAUSE)
    for mark in taken.marks:
        widen(work.marked.setdefault(mark["kind"], {}), mark["entity_id"], mark["changed_since"])
    before = due.look_before(work)
    # What is derived from other derived rows comes after them.
    master.derive(work)
    states.derive(work, gaps, _since_new_gap(feed, gaps))
    sessions.derive(work)
    energy.derive(work)
    attempts.derive(work)
    # Days read all of what the steps before may have written for the first time.
    connection.execute(_REFRESH_STATISTICS)
    availability.derive(work)
    due.note_changes(work, before)
    is_time = feed["findings_at"] is None or now - feed["findings_at"] >= due.INTERVAL
    if is_time:
        due.note_by_time(work)
    marked_at, _ = _oldest(work)
    _move_feed(work, marked_at or now, gaps, now if is_time else feed["findings_at"])
    return taken


# Plans for tables that were small a minute ago take time that grows with their square.
_REFRESH_STATISTICS = text("SELECT analytics.refresh_statistics()")

# Index: primary key. An origin that differs means that the numbers were restored, so some may be given twice.
_MAKE_FEED = text("""
INSERT INTO analytics.feed AS known (tenant, epoch, origin, derived_until)
VALUES (:tenant, :epoch, :origin, '-infinity')
    ON CONFLICT (tenant) DO UPDATE SET epoch = excluded.epoch, origin = excluded.origin
 WHERE known.origin <> excluded.origin
""")

_LOCK_FEED = text("""
SELECT last_change_number, gaps_until, is_in_gap, origin, findings_at
  FROM analytics.feed
 WHERE tenant = :tenant
   FOR UPDATE SKIP LOCKED
""")

# A dump that is restored makes another table, another cluster has another identifier, and a promoted or recovered
# server another timeline.
_ORIGIN = text("""
SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                      (SELECT timeline_id FROM pg_control_checkpoint()),
                      CAST(CAST('analytics.feed' AS regclass) AS oid))
""")


def _lock_feed(connection: Connection, tenant: str) -> RowMapping | None:
    origin = connection.execute(_ORIGIN).scalar_one()
    feed = connection.execute(_LOCK_FEED, {"tenant": tenant}).mappings().one_or_none()
    if feed is None or feed["origin"] != origin:
        known = connection.execute(_KNOWN_ORIGIN, {"tenant": tenant}).scalar_one_or_none()
        if known == origin:
            return None  # another process derives
        connection.execute(_MAKE_FEED, {"tenant": tenant, "epoch": uuid4(), "origin": origin})
        feed = connection.execute(_LOCK_FEED, {"tenant": tenant}).mappings().one_or_none()
    return feed


_KNOWN_ORIGIN = text("SELECT origin FROM analytics.feed WHERE tenant = :tenant")

# Index: primary key, whose condition is a list of values: with a subquery, all marks would be read.
_MARKS = text("""
SELECT dirty_id, kind, entity_id, changed_since, marked_at
  FROM analytics.dirty
 WHERE tenant = :tenant
 ORDER BY dirty_id
 LIMIT :limit
""")

_REMOVE = text("""
DELETE FROM analytics.dirty
 WHERE tenant = :tenant
   AND dirty_id = ANY(:ids)
""")


def _take(work: Work) -> _Taken:
    """Remove marks, the oldest first, as many as are derived in a short transaction; return them."""
    found = work.connection.execute(_MARKS, {"tenant": work.tenant, "limit": MAX_MARKS}).mappings().all()
    marks = found[: portion(_weights(found, work.now), MAX_ENTITIES)]
    if marks:
        ids = [mark["dirty_id"] for mark in marks]
        work.connection.execute(_REMOVE, {"tenant": work.tenant, "ids": ids})
    return _Taken(marks, hit_limit=len(marks) < len(found) or len(found) == MAX_MARKS)


def _weights(marks: Sequence[RowMapping], now: datetime) -> Iterator[int]:
    """Yield the weight of each mark: several of an entity cost one derivation, from the earliest time on."""
    known: dict[tuple[str, int], int] = {}
    for mark in marks:
        entity = (mark["kind"], mark["entity_id"])
        weight = history_weight(mark["changed_since"], now) if mark["kind"] in _WITH_HISTORY else 1
        yield max(weight - known.get(entity, 0), 0)
        known[entity] = max(weight, known.get(entity, 0))


# Indexes: primary keys. Whatever is marked later has a higher number and is committed later than the oldest mark.
_OLDEST = text("""
SELECT (SELECT marked_at FROM analytics.dirty WHERE tenant = :tenant ORDER BY dirty_id LIMIT 1),
       (SELECT noted_at FROM analytics.finding_due WHERE tenant = :tenant ORDER BY due_id LIMIT 1)
""")


def _oldest(work: Work) -> tuple[datetime | None, datetime | None]:
    """Return when the oldest mark was written, and the oldest note of findings."""
    marked_at, noted_at = work.connection.execute(_OLDEST, {"tenant": work.tenant}).one()
    return marked_at, noted_at


_COUNT_ON = text("UPDATE analytics.feed SET last_change_number = :last WHERE tenant = :tenant")

_MOVE_FEED = text("""
UPDATE analytics.feed
   SET last_change_number = :last,
       derived_until = greatest(derived_until, :derived_until),
       gaps_until = :gaps_until,
       is_in_gap = :is_in_gap,
       findings_at = :findings_at
 WHERE tenant = :tenant
""")


def _move_feed(work: Work, derived_until: datetime, gaps: Sequence[Period], findings_at: datetime) -> None:
    ended = [gap.ended_at for gap in gaps if gap.ended_at is not None]
    parameters = {
        "tenant": work.tenant,
        "last": work.last,
        "derived_until": derived_until,
        "gaps_until": max(ended, default=None),
        "is_in_gap": bool(gaps) and gaps[-1].ended_at is None,
        "findings_at": findings_at,
    }
    work.connection.execute(_MOVE_FEED, parameters)


def _since_new_gap(feed: RowMapping, gaps: Sequence[Period]) -> datetime | None:
    """Return since when all EVSEs are derived, if a receiver has come or gone since the last round."""
    return min((gap.began_at for gap in gaps if _is_new(gap, feed)), default=None)


def _is_new(gap: Period, feed: RowMapping) -> bool:
    if gap.ended_at is None:
        return not feed["is_in_gap"]
    return feed["gaps_until"] is not None and gap.ended_at > feed["gaps_until"]


def marks_left(connection: Connection, tenant: str) -> int:
    """Return how many marks of a tenant are left."""
    return int(connection.execute(_COUNT, {"tenant": tenant}).scalar_one())


_COUNT = text("SELECT count(*) FROM analytics.dirty WHERE tenant = :tenant")


# Indexes: primary keys.
_DUE = text("""
SELECT tenant
  FROM unnest(CAST(:tenants AS text[])) AS configured (tenant)
 WHERE EXISTS (SELECT FROM analytics.dirty WHERE dirty.tenant = configured.tenant)
    OR EXISTS (SELECT FROM analytics.finding_due WHERE finding_due.tenant = configured.tenant)
    OR NOT EXISTS (
       SELECT FROM analytics.feed
        WHERE feed.tenant = configured.tenant
          AND feed.derived_until > now() - CAST(:idle AS interval))
""")


def due_tenants(connection: Connection, tenants: Sequence[str], *, idle: timedelta) -> Sequence[str]:
    """Return the tenants of which something is marked or to be evaluated, and those not derived for some time.

    Parameters:
        tenants: the tenants to look at.
        idle: how long a tenant without marks waits.
    """
    return connection.execute(_DUE, {"tenants": list(tenants), "idle": idle}).scalars().all()
