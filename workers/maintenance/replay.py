"""Replay: apply notifications of closed batches again, one chunk at a time.

Facts are ordered by their sources' clocks, so it does not matter that these are old: newer stored facts stay. A second
replay, or one beside the workers, changes nothing more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from runtime.errors import cause
from runtime.logging import get_logger
from storage.erasure.suppression import remove_suppressed_again
from storage.errors import is_unrelated_to_values
from storage.ids import made_at
from storage.inbox.batches import LoggedBody, record_outcomes
from storage.inbox.retention import keep_days
from storage.inbox.rewrite import redact_bodies
from storage.log.read import last_of, page
from storage.log.scope import Position, Scope, position_before
from storage.rebuild.replayed import clear_outcomes, read_since
from storage.state.changes import ChangeSet
from storage.sync.refresh_requests import READABLE
from workers.apply.apply import MAX_BYTES, MAX_NOTIFICATIONS, Parsed, failed, parse_all, write

logger = get_logger(__name__)

#: How often something is tried that fails because of a deadlock, a lock that is held for long, or a server that
#: restarts; the delays between the attempts are 0.5 s, 1 s, 2 s, 4 s.
MAX_ATTEMPTS = 5
FIRST_RETRY_SECONDS = 0.5

Result = TypeVar("Result")


@dataclass(slots=True)
class Replayed:
    """The result of applying notifications again.

    Attributes:
        reached_at: when the last notification was received; all notifications before it are done.
        applied: number of notifications whose facts are in the state, unless newer facts are.
        ignored: number of notifications of types that are not part of the state.
        failed: number of notifications that failed, again or for the first time.
        repaired: number of notifications that had an outcome before and are applied now.
        reads: number of entities whose read was requested.
    """

    reached_at: datetime | None = None
    applied: int = 0
    ignored: int = 0
    failed: int = 0
    repaired: int = 0
    reads: int = 0

    @property
    def seen(self) -> int:
        """The number of notifications."""
        return self.applied + self.ignored + self.failed

    def add(self, other: Replayed) -> None:
        """Add the result of a later chunk."""
        self.reached_at = other.reached_at or self.reached_at
        self.applied += other.applied
        self.ignored += other.ignored
        self.failed += other.failed
        self.repaired += other.repaired
        self.reads += other.reads


def chunks(scope: Scope, read: Callable[[Position], list[LoggedBody]]) -> Iterator[list[LoggedBody]]:
    """Yield the notifications of a scope page by page; each page is read after the last one was handled."""
    position = position_before(scope.since)
    while logged := read(position):
        yield logged
        position = last_of(logged)


def committed_chunks(engine: Engine, scope: Scope, *, limit: int = MAX_NOTIFICATIONS) -> Iterator[list[LoggedBody]]:
    """Yield the notifications of a scope in chunks as large as those of apply, each read in its own transaction."""

    def read(position: Position) -> list[LoggedBody]:
        with engine.begin() as connection:
            return page(connection, scope, position, limit=limit, max_bytes=MAX_BYTES)

    return chunks(scope, lambda position: patiently(lambda: read(position)))


def replay(engine: Engine, scope: Scope, *, limit: int = MAX_NOTIFICATIONS) -> Iterator[Replayed]:
    """Apply the notifications of a scope again; yield the result of each chunk after its commit.

    Raises:
        DBAPIError: Postgres is down, or stayed busy; the chunks that were yielded are done.
    """
    for logged in committed_chunks(engine, scope, limit=limit):
        yield from _replay_chunk(engine, scope.tenant, logged)


def _replay_chunk(engine: Engine, tenant: str, logged: Sequence[LoggedBody]) -> Iterator[Replayed]:
    def attempt() -> tuple[Parsed, int, int]:
        with engine.begin() as connection:
            keep_days(connection)
            cleaned = remove_suppressed_again(connection, tenant, logged)
            parsed = parse_all(cleaned)
            # Unknown fields were counted when the notifications were applied first, and must not be counted twice.
            parsed.changes.unknown_fields.clear()
            _drop_needless_reads(connection, tenant, parsed.changes)
            reads = write(connection, tenant, parsed)
            # An older release may not have redacted these bodies.
            redact_bodies(connection, tenant, cleaned)
            not_applied = {outcome.notification_id for outcome in parsed.outcomes}
            ids = [notification.notification_id for notification in logged]
            applied = [notification_id for notification_id in ids if notification_id not in not_applied]
            return parsed, reads, clear_outcomes(connection, tenant, applied)

    began = time.monotonic()
    try:
        parsed, reads, repaired = patiently(attempt)
    except Exception as error:
        if is_unrelated_to_values(error):
            raise
        # A notification in the chunk passes our models, but cannot be written: halve the chunk until it is found.
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
    """Drop requests that a read has answered already, because it began after the notification arrived."""
    requested_at = {
        entity: made_at(notification_id)
        for entity, notification_id in changes.requested_by.items()
        if entity.kind in READABLE
    }
    for entity in read_since(connection, tenant, requested_at):
        changes.required_reads.pop(entity, None)
        changes.reads_if_unknown.pop(entity, None)


def patiently(attempt: Callable[[], Result]) -> Result:
    """Retry after passing failures of Postgres, because no queue does that for a command.

    Raises:
        DBAPIError: the last attempt failed, or the failure is not passing.
    """
    for attempts in range(1, MAX_ATTEMPTS):
        try:
            return attempt()
        except DBAPIError as error:
            if not is_unrelated_to_values(error):
                raise
            seconds = FIRST_RETRY_SECONDS * 2 ** (attempts - 1)
            logger.warning("Postgres failed, retrying", error=cause(error), seconds=seconds)
            time.sleep(seconds)
    return attempt()
