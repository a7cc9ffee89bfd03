"""Replay: settled notifications of the log are applied again, a chunk at a time.

Facts are ordered by their sources' clocks, so it does not matter that these are old: what
is stored and newer stays. Doing it twice, or beside the workers, changes nothing more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from storage import replay as log
from storage.batches import Logged, record_outcomes
from storage.changes import ChangeSet
from storage.errors import is_passing
from storage.ids import made_at
from storage.refresh_queue import READABLE
from storage.replay import Scope
from storage.retention import keep_days
from storage.rewrite import redact_bodies
from storage.suppression import remove_suppressed_again
from workers.apply import MAX_BYTES, MAX_NOTIFICATIONS, Parsed, failed, parse_all, write
from workers.errors import cause
from workers.logs import get_logger

logger = get_logger(__name__)

#: A deadlock, a lock that is held for long, a server that starts again: tried so often, after
#: 0.5 s, 1 s, 2 s, 4 s.
MAX_ATTEMPTS = 5
FIRST_RETRY_SECONDS = 0.5

Result = TypeVar("Result")


@dataclass(slots=True)
class Replayed:
    """What became of notifications that were applied again.

    Attributes:
        reached_at: when the last of them was received; all before it are done.
        applied: those whose facts are in the state, newer ones apart.
        ignored: those of which we keep no state.
        failed: those that failed, again or for the first time.
        repaired: those that were set not_applied before, and applied now.
        reads: entities that were marked for a read.
    """

    reached_at: datetime | None = None
    applied: int = 0
    ignored: int = 0
    failed: int = 0
    repaired: int = 0
    reads: int = 0

    @property
    def seen(self) -> int:
        return self.applied + self.ignored + self.failed

    def add(self, other: Replayed) -> None:
        self.reached_at = other.reached_at or self.reached_at
        self.applied += other.applied
        self.ignored += other.ignored
        self.failed += other.failed
        self.repaired += other.repaired
        self.reads += other.reads


def chunks(scope: Scope, read: Callable[[log.Position], list[Logged]]) -> Iterator[list[Logged]]:
    """The notifications of a scope, page by page, each read when the last one is done."""
    position = log.beginning(scope)
    while logged := read(position):
        yield logged
        position = log.last_of(logged)


def committed_chunks(engine: Engine, scope: Scope, *, limit: int = MAX_NOTIFICATIONS) -> Iterator[list[Logged]]:
    """The notifications of a scope in chunks as large as apply's, each read in a transaction of its own."""

    def read(position: log.Position) -> list[Logged]:
        with engine.begin() as connection:
            return log.page(connection, scope, position, limit=limit, max_bytes=MAX_BYTES)

    return chunks(scope, lambda position: patiently(lambda: read(position)))


def replay(engine: Engine, scope: Scope, *, limit: int = MAX_NOTIFICATIONS) -> Iterator[Replayed]:
    """Apply a scope again; yields what became of each chunk, after its commit.

    Raises:
        DBAPIError: Postgres is not there, or stayed busy; what was yielded is done.
    """
    for logged in committed_chunks(engine, scope, limit=limit):
        yield from _replay_chunk(engine, scope.tenant, logged)


def _replay_chunk(engine: Engine, tenant: str, logged: Sequence[Logged]) -> Iterator[Replayed]:
    def attempt() -> tuple[Parsed, int, int]:
        with engine.begin() as connection:
            keep_days(connection)
            cleaned = remove_suppressed_again(connection, tenant, logged)
            parsed = parse_all(cleaned)
            # It was counted when it came, and is not to be counted twice.
            parsed.changes.unknown_fields.clear()
            _drop_needless_reads(connection, tenant, parsed.changes)
            reads = write(connection, tenant, parsed)
            # An older release may have left them as they came.
            redact_bodies(connection, tenant, cleaned)
            not_applied = {outcome.notification_id for outcome in parsed.outcomes}
            applied = [one.notification_id for one in logged if one.notification_id not in not_applied]
            return parsed, reads, log.clear_outcomes(connection, tenant, applied)

    began = time.monotonic()
    try:
        parsed, reads, repaired = patiently(attempt)
    except Exception as error:
        if is_passing(error):
            raise
        # Something in the chunk passes our models and cannot be written: halve it until it is found.
        if len(logged) == 1:
            parsed, reads, repaired = Parsed(outcomes=[failed(logged[0], error)]), 0, 0
            with engine.begin() as connection:
                record_outcomes(connection, tenant, parsed.outcomes)
        else:
            middle = len(logged) // 2
            yield from _replay_chunk(engine, tenant, logged[:middle])
            yield from _replay_chunk(engine, tenant, logged[middle:])
            return
    states = [outcome.state for outcome in parsed.outcomes]
    replayed = Replayed(
        reached_at=logged[-1].received_at,
        applied=parsed.applied,
        ignored=states.count("ignored"),
        failed=states.count("failed"),
        repaired=repaired,
        reads=reads,
    )
    logger.debug(
        "replayed",
        tenant=tenant,
        notifications=len(logged),
        milliseconds=round((time.monotonic() - began) * 1000),
    )
    yield replayed


def _drop_needless_reads(connection: Connection, tenant: str, changes: ChangeSet) -> None:
    """Ask for no read that was made already: one that began after the notification that asks for it came."""
    asked_at = {
        entity: made_at(notification_id)
        for entity, notification_id in changes.requested_by.items()
        if entity.kind in READABLE
    }
    for entity in log.read_since(connection, tenant, asked_at):
        changes.required_reads.pop(entity, None)
        changes.reads_if_unknown.discard(entity)


def patiently(attempt: Callable[[], Result]) -> Result:
    """Try again what Postgres failed at, rather than refused; nobody else does it for a command."""
    for attempts in range(1, MAX_ATTEMPTS):
        try:
            return attempt()
        except DBAPIError as error:
            if not is_passing(error):
                raise
            seconds = FIRST_RETRY_SECONDS * 2 ** (attempts - 1)
            logger.warning("tried again soon", error=cause(error), seconds=seconds)
            time.sleep(seconds)
    return attempt()
