"""Rebuild: compute the state from the log again, compare it with the live state, and swap the differences in.

1. The log is folded into tables of its own, chunk by chunk, while the service works.
2. In one database snapshot the batches that were closed since then are folded, too, the state that the log cannot
   contain is carried over, and both states are compared. In a snapshot a chunk of apply is either closed and in the
   live state, or neither, so nothing differs only because it arrived during the rebuild.
3. The swap replaces the rows that differ, in one short transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, text

from storage.clock import clock
from storage.database import WHOLE_TABLES, set_statement_timeout, wait_in_transaction
from storage.erasure.suppression import remove_suppressed_again
from storage.errors import is_unrelated_to_values
from storage.inbox.batches import LoggedBody
from storage.locks import Lock, try_lock
from storage.log.read import first_of_closed, log_begins, page
from storage.log.scope import Scope
from storage.rebuild import compare as tables
from storage.rebuild import swap as swapping
from storage.rebuild.compare import REBUILD, Compared, Difference
from storage.state.changes import Entity
from storage.state.marks import mark_all
from storage.write import write_state
from workers.apply.apply import MAX_BYTES, MAX_NOTIFICATIONS, parse_all
from workers.maintenance.replay import chunks, committed_chunks, patiently

#: The time at which a batch was closed is the start of its transaction, which may be this long before its commit.
MAX_CHUNK = timedelta(minutes=5)

#: How many differences of each table and sort are shown.
MAX_EXAMPLES = 5


class RebuildError(Exception):
    """A rebuild cannot be made now; the message says why."""


@dataclass(slots=True)
class Comparison:
    """The differences between the live state and the rebuilt one.

    Attributes:
        log_begins_at: when the oldest notification of the log was received; None if the log is empty.
        notifications: number of notifications that the second step folded.
        tables: the comparison of each table.
        examples: some of the differences.
    """

    tenant: str
    log_begins_at: datetime | None
    notifications: int = 0
    tables: list[Compared] = field(default_factory=list)
    examples: list[Difference] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether any table differs."""
        return any(table.differs for table in self.tables)


@dataclass(frozen=True, slots=True)
class Swapped:
    """The number of rows that were replaced, of observations that were added, and of reads that were requested."""

    rows: int
    observations: int
    reads: int


@contextmanager
def alone(engine: Engine) -> Iterator[None]:
    """Exclude other rebuilds and erasures during the block, and drop the tables of the rebuild at its end.

    Raises:
        RebuildError: a rebuild or an erasure is running.
    """
    with engine.connect() as connection:
        wait_in_transaction(connection)
        if not try_lock(connection, Lock.REBUILD):
            raise RebuildError("a rebuild or an erasure is running on this database; let it end first.")
        try:
            yield
        finally:
            tables.drop(connection)
            connection.commit()  # ends the lock, too


def scope_of(engine: Engine, tenant: str) -> Scope:
    """Return the scope of a tenant's whole log; its end allows for a receiver's clock that is an hour ahead."""
    with engine.begin() as connection:
        since = log_begins(connection, tenant, complete=True)
    until = clock.now() + timedelta(hours=1)
    return Scope(tenant, since or until, until)


def fold_log(engine: Engine, scope: Scope, *, limit: int = MAX_NOTIFICATIONS) -> Iterator[list[LoggedBody]]:
    """Fold the log into new tables; yield each chunk after its commit."""
    with engine.begin() as connection:
        tables.make(connection)
    for logged in committed_chunks(engine, scope, limit=limit):
        patiently(lambda: _fold_committed(engine, scope.tenant, logged))  # noqa: B023 - called at once
        yield logged


def _fold_committed(engine: Engine, tenant: str, logged: Sequence[LoggedBody]) -> None:
    with engine.begin() as connection:
        _fold(connection, tenant, logged)


def _fold(connection: Connection, tenant: str, logged: Sequence[LoggedBody]) -> None:
    """Fold a chunk; leave out notifications that cannot be applied, as apply does."""
    changes = parse_all(remove_suppressed_again(connection, tenant, logged)).changes
    try:
        with connection.begin_nested():
            write_state(connection, tenant, changes, schema=REBUILD)
    except Exception as error:
        if is_unrelated_to_values(error):
            raise
        if len(logged) > 1:
            middle = len(logged) // 2
            _fold(connection, tenant, logged[:middle])
            _fold(connection, tenant, logged[middle:])


def began_at(engine: Engine) -> datetime:
    """Return the current time by the clock that dates the closing of batches."""
    with engine.begin() as connection:
        now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    return now


def compare(engine: Engine, scope: Scope, folded_since: datetime, *, limit: int = MAX_NOTIFICATIONS) -> Comparison:
    """Complete the rebuilt state in one database snapshot, and compare it there with the live state.

    Parameters:
        folded_since: when the folding of the log began, by :func:`began_at`.
    """
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    with snapshot.begin() as connection:
        set_statement_timeout(connection, WHOLE_TABLES)
        begins = log_begins(connection, scope.tenant, complete=True)
        comparison = Comparison(scope.tenant, begins)
        for logged in _closed_since(connection, scope, folded_since - MAX_CHUNK, limit):
            _fold(connection, scope.tenant, logged)
            comparison.notifications += len(logged)
        for logged in _pages(connection, replace(scope, is_claimed=True), limit):
            tables.note_moving(connection, _touched(logged))
        tables.carry(connection, scope.tenant, begins)
        comparison.tables = tables.compare(connection, scope.tenant, begins)
        comparison.examples = tables.examples(connection, scope.tenant, begins, limit=MAX_EXAMPLES)
    return comparison


def _closed_since(connection: Connection, scope: Scope, since: datetime, limit: int) -> Iterator[list[LoggedBody]]:
    first = first_of_closed(connection, scope.tenant, since)
    if first is not None:
        yield from _pages(connection, replace(scope, since=first, closed_since=since), limit)


def _pages(connection: Connection, scope: Scope, limit: int) -> Iterator[list[LoggedBody]]:
    return chunks(scope, lambda position: page(connection, scope, position, limit=limit, max_bytes=MAX_BYTES))


def _touched(logged: Sequence[LoggedBody]) -> list[Entity]:
    """Return the entities of these notifications, which may be in the live state already if applied one by one."""
    return sorted({Entity(fact.kind, fact.entity_id) for fact in parse_all(logged).changes.facts})


def swap(engine: Engine, tenant: str) -> Swapped:
    """Replace the rows that differ by the rebuilt ones, and request reads of entities that stay doubtful."""

    def add_history() -> int:
        with engine.begin() as connection:
            set_statement_timeout(connection, WHOLE_TABLES)
            return swapping.add_history(connection, tenant)

    def swap_rows() -> tuple[int, int]:
        with engine.begin() as connection:
            set_statement_timeout(connection, WHOLE_TABLES)
            rows = swapping.swap(connection, tenant)
            mark_all(connection, tenant)  # a rebuild repairs what may be wrong anywhere
            return rows, swapping.request_doubtful(connection, tenant)

    observations = patiently(add_history)
    rows, reads = patiently(swap_rows)
    return Swapped(rows, observations, reads)
