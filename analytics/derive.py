"""Derive again what changed: take a tenant's marks, recompute the entities that they name, and write what differs.

One transaction is one round. It locks the tenant's row of ``analytics.feed`` first, so that one process at a time
derives for a tenant. The marks are deleted before the state is read: a change that commits in between is read as well,
and its mark stays for the next round.

Findings are evaluated when nothing is marked any more, or when they have waited for some seconds, and never before
what else was marked when they were noted is derived: in a round of their own, or in the round that noted them if they
are few. Most rounds are small, and nearly all of their cost is fixed.
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
from analytics.sessions.drivers import make_secret
from analytics.states import derive as states
from analytics.states.stretches import Period, gaps_between
from analytics.writing import Work
from storage.monitoring.uptime import MAX_PAUSE, periods_alive
from storage.state.marks import STATUS, STATUS_KINDS

#: What a round takes at most, so that a backlog is derived in short transactions: entities that the marks name, some of
#: which count as several, and marks. Several marks of one entity cost one derivation.
MAX_ENTITIES = 2_000
MAX_MARKS = 8_000

#: With fewer marks or notes than this a round is small: it takes little time, and changes the size of no table much.
FEW = 100

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
        now, origin = connection.execute(_SERVER).one()
        feed = _lock_feed(connection, tenant, origin)
        if feed is None:
            return None
        work = Work(connection, tenant, now, feed["last_change_number"])
        if not feed["has_driver_secret"]:
            make_secret(connection, tenant)
        waiting, taken = _waiting(work), _Taken()
        if are_due(work.now, waiting.noted_at, waiting.marked_at):
            _evaluate(work, waiting)
        else:
            taken = _derive(work, feed)
        left = _waiting(work)
        if 0 < taken.weight < FEW and left.marked_at is None and 0 < left.notes < FEW:
            _evaluate(work, left)
            left = _waiting(work)
    lag = now - min(mark["marked_at"] for mark in taken.marks) if taken.marks else None
    return Round(
        marks=len(taken.marks),
        changes=work.last - feed["last_change_number"],
        lag=lag,
        is_done=left.marked_at is None and left.noted_at is None,
        has_more_marks=left.marked_at is not None,
        hit_limit=taken.hit_limit,
        entities=sum(map(len, work.marked.values())),
    )


class _Taken(NamedTuple):
    """The marks that a round took, their weight, and whether they are as many as a round may take."""

    marks: Sequence[RowMapping] = ()
    weight: int = 0
    hit_limit: bool = False


def _derive(work: Work, feed: RowMapping) -> _Taken:
    """Derive what some marks name; return what was taken."""
    now, taken = work.now, _take(work)
    # If the clock was set back, the last time may be far ahead, and must not be waited for.
    is_time = feed["findings_at"] is None or not timedelta(0) <= now - feed["findings_at"] < due.INTERVAL
    if is_time or len(taken.marks) >= FEW:
        work.connection.execute(_REFRESH_STATISTICS)
    gaps = gaps_between(periods_alive(work.connection), now, MAX_PAUSE)
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
    if len(taken.marks) >= FEW:
        work.connection.execute(_REFRESH_STATISTICS)
    availability.derive(work)
    due.note_changes(work, before)
    if is_time:
        due.note_by_time(work)
    _move_feed(work, gaps, now if is_time else feed["findings_at"])
    return taken


def _evaluate(work: Work, waiting: _Waiting) -> None:
    """Evaluate some of what was noted."""
    if waiting.notes >= FEW:
        work.connection.execute(_REFRESH_STATISTICS)
    last = work.last
    evaluate(work, waiting.marked_at)
    if work.last > last:
        work.connection.execute(_COUNT_ON, {"tenant": work.tenant, "last": work.last})


# Plans for tables that were small a minute ago take time that grows with their square. A small round adds little to
# them, so it asks once a minute, together with what time alone makes wrong.
_REFRESH_STATISTICS = text("SELECT analytics.refresh_statistics()")

# Index: primary key. An origin that differs means that the numbers were restored, so some may be given twice.
_MAKE_FEED = text("""
INSERT INTO analytics.feed AS known (tenant, epoch, origin, derived_until)
VALUES (:tenant, :epoch, :origin, '-infinity')
    ON CONFLICT (tenant) DO UPDATE SET epoch = excluded.epoch, origin = excluded.origin
 WHERE known.origin <> excluded.origin
""")

# A dump that is restored makes another table, another cluster has another identifier, and a promoted or recovered
# server another timeline.
_SERVER = text("""
SELECT now() AS now,
       concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                      (SELECT timeline_id FROM pg_control_checkpoint()),
                      CAST(CAST('analytics.feed' AS regclass) AS oid)) AS origin
""")

# Indexes: primary keys.
_LOCK_FEED = text("""
SELECT last_change_number, gaps_until, is_in_gap, origin, findings_at,
       EXISTS (SELECT FROM ingest.driver_secret AS drivers WHERE drivers.tenant = :tenant) AS has_driver_secret
  FROM analytics.feed
 WHERE tenant = :tenant
   FOR UPDATE OF feed SKIP LOCKED
""")


def _lock_feed(connection: Connection, tenant: str, origin: str) -> RowMapping | None:
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
    weights = list(_weights(found, work.now))
    marks = found[: portion(weights, MAX_ENTITIES)]
    if marks:
        ids = [mark["dirty_id"] for mark in marks]
        work.connection.execute(_REMOVE, {"tenant": work.tenant, "ids": ids})
    hit_limit = len(marks) < len(found) or len(found) == MAX_MARKS
    return _Taken(marks, sum(weights[: len(marks)]), hit_limit)


def _weights(marks: Sequence[RowMapping], now: datetime) -> Iterator[int]:
    """Yield the weight of each mark: several of an entity cost one derivation, from the earliest time on."""
    known: dict[tuple[str, int], int] = {}
    for mark in marks:
        entity = (mark["kind"], mark["entity_id"])
        weight = history_weight(mark["changed_since"], now) if mark["kind"] in _WITH_HISTORY else 1
        yield max(weight - known.get(entity, 0), 0)
        known[entity] = max(weight, known.get(entity, 0))


class _Waiting(NamedTuple):
    """What waits for a later round.

    Attributes:
        marked_at: when the oldest mark was written; None if there is none.
        noted_at: when the oldest note of findings was written; None if there is none.
        notes: how many notes there are, at most FEW of which are counted.
    """

    marked_at: datetime | None
    noted_at: datetime | None
    notes: int


# Indexes: primary keys. Whatever is marked later has a higher number and is committed later than the oldest mark.
_WAITING = text("""
SELECT (SELECT marked_at FROM analytics.dirty WHERE tenant = :tenant ORDER BY dirty_id LIMIT 1), min(noted_at), count(*)
  FROM (SELECT noted_at FROM analytics.finding_due WHERE tenant = :tenant ORDER BY due_id LIMIT :few) AS oldest
""")


def _waiting(work: Work) -> _Waiting:
    return _Waiting(*work.connection.execute(_WAITING, {"tenant": work.tenant, "few": FEW}).one())


_COUNT_ON = text("UPDATE analytics.feed SET last_change_number = :last WHERE tenant = :tenant")

# Indexes: primary keys. All that was marked before the oldest mark that is left is derived. After the clock was set
# back, the former time may be ahead of it.
_MOVE_FEED = text("""
UPDATE analytics.feed
   SET last_change_number = :last,
       derived_until = greatest(
           CASE WHEN derived_until <= :now THEN derived_until ELSE '-infinity' END,
           least((SELECT marked_at FROM analytics.dirty WHERE tenant = :tenant ORDER BY dirty_id LIMIT 1), :now)),
       gaps_until = :gaps_until,
       is_in_gap = :is_in_gap,
       findings_at = :findings_at
 WHERE tenant = :tenant
""")


def _move_feed(work: Work, gaps: Sequence[Period], findings_at: datetime) -> None:
    ended = [gap.ended_at for gap in gaps if gap.ended_at is not None]
    parameters = {
        "tenant": work.tenant,
        "last": work.last,
        "now": work.now,
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
    if feed["gaps_until"] is None:  # no gap had ended: the one before the first receiver is new if it was open
        return bool(feed["is_in_gap"])
    return bool(gap.ended_at > feed["gaps_until"])


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
          AND feed.derived_until > now() - CAST(:idle AS interval)
          AND feed.derived_until <= now())
""")


def due_tenants(connection: Connection, tenants: Sequence[str], *, idle: timedelta) -> Sequence[str]:
    """Return the tenants of which something is marked or to be evaluated, and those not derived for some time.

    Parameters:
        tenants: the tenants to look at.
        idle: how long a tenant without marks waits.
    """
    return connection.execute(_DUE, {"tenants": list(tenants), "idle": idle}).scalars().all()
