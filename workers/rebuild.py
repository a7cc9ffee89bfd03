"""Rebuild: the state computed anew from the log, compared with the live one, and put in its place if asked to.

1. The log is folded into tables of its own, chunk by chunk; the service works on meanwhile.
2. In one snapshot: what was settled since is folded too, what the log cannot hold is carried
   over, and both states are compared. In a snapshot a chunk of apply is either settled and in
   the live state, or neither, so that nothing differs only because it came meanwhile.
3. The swap mends the rows that differ, in one short transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, text

from storage import rebuild as tables
from storage import replay as log
from storage import swap as swapping
from storage.batches import Logged
from storage.changes import Entity
from storage.clock import clock
from storage.database import wait_in_transaction
from storage.errors import is_passing
from storage.locks import Lock, try_lock
from storage.rebuild import REBUILD, Compared, Difference
from storage.replay import Scope
from storage.suppression import remove_suppressed_again
from storage.write import write_state
from workers.apply import MAX_BYTES, MAX_NOTIFICATIONS, parse_all
from workers.replay import chunks, committed_chunks, patiently

#: A batch counts as settled from when its transaction began, which may be this long before its commit.
MAX_CHUNK = timedelta(minutes=5)

#: Differences of each table and sort that are shown.
MAX_EXAMPLES = 5


class RebuildError(Exception):
    """A rebuild cannot be made."""


@dataclass(slots=True)
class Comparison:
    """What differs between the live state and the rebuilt one.

    Attributes:
        log_begins_at: when the oldest notification of the log was received; None where it holds none.
        notifications: how many were folded; those that were settled meanwhile count twice.
    """

    tenant: str
    log_begins_at: datetime | None
    notifications: int = 0
    tables: list[Compared] = field(default_factory=list)
    examples: list[Difference] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        return any(table.differs for table in self.tables)


@dataclass(frozen=True, slots=True)
class Swapped:
    """Rows that were mended, observations that were added, entities that were marked for a read."""

    rows: int
    observations: int
    reads: int


@contextmanager
def alone(engine: Engine) -> Iterator[None]:
    """Let nobody else rebuild meanwhile, and leave no tables behind.

    Raises:
        RebuildError: somebody else does.
    """
    with engine.connect() as connection:
        wait_in_transaction(connection)
        if not try_lock(connection, Lock.REBUILD):
            raise RebuildError("a rebuild or a forgetting is under way on this database; let it end first.")
        try:
            yield
        finally:
            tables.drop(connection)
            connection.commit()  # which ends the lock too


def scope_of(engine: Engine, tenant: str) -> Scope:
    """Return the whole log of a tenant; received with a clock that is an hour ahead, at most."""
    with engine.begin() as connection:
        since = log.log_begins(connection, tenant, complete=True)
    until = clock.now() + timedelta(hours=1)
    return Scope(tenant, since or until, until)


def fold_log(engine: Engine, scope: Scope, *, limit: int = MAX_NOTIFICATIONS) -> Iterator[list[Logged]]:
    """Fold the log into new tables; yields each chunk after its commit."""
    with engine.begin() as connection:
        tables.make(connection)
    for logged in committed_chunks(engine, scope, limit=limit):
        patiently(lambda: _fold_committed(engine, scope.tenant, logged))  # noqa: B023 - called at once
        yield logged


def _fold_committed(engine: Engine, tenant: str, logged: Sequence[Logged]) -> None:
    with engine.begin() as connection:
        _fold(connection, tenant, logged)


def _fold(connection: Connection, tenant: str, logged: Sequence[Logged]) -> None:
    """Fold a chunk; what cannot be applied is left out, as it is from the live state."""
    changes = parse_all(remove_suppressed_again(connection, tenant, logged)).changes
    try:
        with connection.begin_nested():
            write_state(connection, tenant, changes, schema=REBUILD)
    except Exception as error:
        if is_passing(error):
            raise
        if len(logged) > 1:
            middle = len(logged) // 2
            _fold(connection, tenant, logged[:middle])
            _fold(connection, tenant, logged[middle:])


def began_at(engine: Engine) -> datetime:
    """Now, by the clock that settles batches."""
    with engine.begin() as connection:
        now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    return now


def compare(engine: Engine, scope: Scope, folded_since: datetime, *, limit: int = MAX_NOTIFICATIONS) -> Comparison:
    """Finish the rebuilt state in one snapshot, and compare it there.

    Parameters:
        folded_since: when the folding of the log began, by :func:`began_at`.
    """
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    with snapshot.begin() as connection:
        tables.take_time(connection)
        begins = log.log_begins(connection, scope.tenant, complete=True)
        found = Comparison(scope.tenant, begins)
        for logged in _settled_since(connection, scope, folded_since - MAX_CHUNK, limit):
            _fold(connection, scope.tenant, logged)
            found.notifications += len(logged)
        for logged in _pages(connection, replace(scope, in_hand=True), limit):
            tables.note_moving(connection, _touched(logged))
        tables.carry(connection, scope.tenant, begins)
        found.tables = tables.compare(connection, scope.tenant, begins)
        found.examples = tables.examples(connection, scope.tenant, begins, limit=MAX_EXAMPLES)
    return found


def _settled_since(connection: Connection, scope: Scope, since: datetime, limit: int) -> Iterator[list[Logged]]:
    first = log.first_of_closed(connection, scope.tenant, since)
    if first is not None:
        yield from _pages(connection, replace(scope, since=first, closed_since=since), limit)


def _pages(connection: Connection, scope: Scope, limit: int) -> Iterator[list[Logged]]:
    return chunks(scope, lambda position: log.page(connection, scope, position, limit=limit, max_bytes=MAX_BYTES))


def _touched(logged: Sequence[Logged]) -> list[Entity]:
    """What these notifications are about: one by one, they may be in the live state already."""
    return sorted({Entity(fact.kind, fact.entity_id) for fact in parse_all(logged).changes.facts})


def swap(engine: Engine, tenant: str) -> Swapped:
    """Put what was rebuilt in the place of what differs, and mark for a read what stays in doubt."""

    def add_history() -> int:
        with engine.begin() as connection:
            tables.take_time(connection)
            return swapping.add_history(connection, tenant)

    def swap_rows() -> tuple[int, int]:
        with engine.begin() as connection:
            tables.take_time(connection)
            return swapping.swap(connection, tenant), swapping.request_doubtful(connection, tenant)

    observations = patiently(add_history)
    rows, reads = patiently(swap_rows)
    return Swapped(rows, observations, reads)
