"""Replay: settled notifications of the log are applied again, a bite at a time.

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
from storage.batches import Logged, set_aside
from storage.blanking import blank
from storage.errors import is_passing
from storage.findings import Findings
from storage.forgotten import spare_again
from storage.ids import made_at
from storage.refresh_queue import READABLE
from storage.replay import Scope
from storage.retention import keep_days
from workers.apply import MOST_BYTES, MOST_NOTIFICATIONS, Settled, failed, settle, write
from workers.errors import cause
from workers.logs import get_logger

logger = get_logger(__name__)

#: A deadlock, a lock that is held for long, a server that starts again: tried so often, after
#: 0.5 s, 1 s, 2 s, 4 s.
MOST_ATTEMPTS = 5
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
        mended: those that were set aside before, and applied now.
        reads: entities that were marked for a read.
    """

    reached_at: datetime | None = None
    applied: int = 0
    ignored: int = 0
    failed: int = 0
    mended: int = 0
    reads: int = 0

    @property
    def seen(self) -> int:
        return self.applied + self.ignored + self.failed

    def add(self, other: Replayed) -> None:
        self.reached_at = other.reached_at or self.reached_at
        self.applied += other.applied
        self.ignored += other.ignored
        self.failed += other.failed
        self.mended += other.mended
        self.reads += other.reads


def bites(scope: Scope, read: Callable[[log.Position], list[Logged]]) -> Iterator[list[Logged]]:
    """The notifications of a scope, page by page, each read when the last one is done."""
    position = log.beginning(scope)
    while logged := read(position):
        yield logged
        position = log.last_of(logged)


def committed_bites(engine: Engine, scope: Scope, *, most: int = MOST_NOTIFICATIONS) -> Iterator[list[Logged]]:
    """The notifications of a scope in bites as large as apply's, each read in a transaction of its own."""

    def read(position: log.Position) -> list[Logged]:
        with engine.begin() as connection:
            return log.page(connection, scope, position, most=most, most_bytes=MOST_BYTES)

    return bites(scope, lambda position: patiently(lambda: read(position)))


def replay(engine: Engine, scope: Scope, *, most: int = MOST_NOTIFICATIONS) -> Iterator[Replayed]:
    """Apply a scope again; yields what became of each bite, after its commit.

    Raises:
        DBAPIError: Postgres is not there, or stayed busy; what was yielded is done.
    """
    for logged in committed_bites(engine, scope, most=most):
        yield from _replay_bite(engine, scope.tenant, logged)


def _replay_bite(engine: Engine, tenant: str, logged: Sequence[Logged]) -> Iterator[Replayed]:
    def attempt() -> tuple[Settled, int, int]:
        with engine.begin() as connection:
            keep_days(connection)
            spared = spare_again(connection, tenant, logged)
            settled = settle(spared)
            # It was counted when it came, and is not to be counted twice.
            settled.findings.drift.clear()
            _spare_reads(connection, tenant, settled.findings)
            reads = write(connection, tenant, settled)
            # An older release may have left them as they came.
            blank(connection, tenant, spared)
            aside = {outcome.notification_id for outcome in settled.outcomes}
            applied = [one.notification_id for one in logged if one.notification_id not in aside]
            return settled, reads, log.forget_outcomes(connection, tenant, applied)

    began = time.monotonic()
    try:
        settled, reads, mended = patiently(attempt)
    except Exception as error:
        if is_passing(error):
            raise
        # Something in the bite passes our models and cannot be written: halve it until it is found.
        if len(logged) == 1:
            settled, reads, mended = Settled(outcomes=[failed(logged[0], error)]), 0, 0
            with engine.begin() as connection:
                set_aside(connection, tenant, settled.outcomes)
        else:
            middle = len(logged) // 2
            yield from _replay_bite(engine, tenant, logged[:middle])
            yield from _replay_bite(engine, tenant, logged[middle:])
            return
    states = [outcome.state for outcome in settled.outcomes]
    replayed = Replayed(
        reached_at=logged[-1].received_at,
        applied=settled.applied,
        ignored=states.count("ignored"),
        failed=states.count("failed"),
        mended=mended,
        reads=reads,
    )
    logger.debug(
        "replayed",
        tenant=tenant,
        notifications=len(logged),
        milliseconds=round((time.monotonic() - began) * 1000),
    )
    yield replayed


def _spare_reads(connection: Connection, tenant: str, findings: Findings) -> None:
    """Ask for no read that was made already: one that began after the notification that asks for it came."""
    asked_at = {
        entity: made_at(notification_id)
        for entity, notification_id in findings.marked_by.items()
        if entity.entity in READABLE
    }
    for entity in log.read_since(connection, tenant, asked_at):
        findings.wanted.pop(entity, None)
        findings.mentioned.discard(entity)


def patiently(attempt: Callable[[], Result]) -> Result:
    """Try again what Postgres failed at, rather than refused; nobody else does it for a command."""
    for attempts in range(1, MOST_ATTEMPTS):
        try:
            return attempt()
        except DBAPIError as error:
            if not is_passing(error):
                raise
            seconds = FIRST_RETRY_SECONDS * 2 ** (attempts - 1)
            logger.warning("tried again soon", error=cause(error), seconds=seconds)
            time.sleep(seconds)
    return attempt()
