"""A trial of a fault under load: the service on servers of its own, and the outcome of every 2xx."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from tests.support.ledger import SETTLE_SECONDS, compare
from tests.support.processes import Process, Processes
from tests.support.sender import Sender
from tests.support.servers import PostgresServer, RedisServer
from tests.support.service import eventually

#: The answers that a sender may get: accepted, send again later, or no answer.
HONEST = {202, 503, 0}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table; ``caught_up_seconds`` counts from the end of the fault."""

    fault: str
    requests: int
    accepted: int
    unavailable: int
    lost: int
    duplicated: int
    caught_up_seconds: float


@dataclass
class Load:
    """The load of one trial, and the time that it took to catch up after the fault."""

    sender: Sender
    engine: Engine
    caught_up_seconds: float | None = None

    def over(self) -> None:
        """After the fault, wait under load until all batches that were accepted before are closed."""
        began = time.monotonic()
        eventually(self._now, seconds=SETTLE_SECONDS)
        at = self._now()
        eventually(lambda: self._closed_until(at), seconds=SETTLE_SECONDS)
        self.caught_up_seconds = time.monotonic() - began

    def _now(self) -> object:
        with contextlib.suppress(DBAPIError), self.engine.connect() as connection:
            return connection.execute(text("SELECT now()")).scalar_one()
        return None

    def _closed_until(self, at: object) -> bool:
        statement = text("SELECT NOT EXISTS (SELECT FROM ingest.batch WHERE applied_at IS NULL AND committed_at < :at)")
        with contextlib.suppress(DBAPIError), self.engine.connect() as connection:
            return bool(connection.execute(statement, {"at": at}).scalar_one())
        return False


@dataclass
class Ground:
    """The two servers of a trial, and the processes that use them.

    Attributes:
        receiver, worker: the first of each, already started.
        table: the lines of the trials.
    """

    postgres: PostgresServer
    redis: RedisServer
    service: Processes
    engine: Engine
    receiver: Process
    worker: Process
    table: list[Line]

    @contextlib.contextmanager
    def load(self, fault: str) -> Iterator[Load]:
        """Send a steady load in the context; afterwards assert that nothing is lost or duplicated."""
        load = Load(Sender(self.service.urls), self.engine)
        with under_load(load, fault, self.table):
            yield load


@contextlib.contextmanager
def under_load(load: Load, fault: str, table: list[Line], *, honest: Set[int] = HONEST) -> Iterator[None]:
    """Send in the context; afterwards assert that nothing is lost or duplicated, and add a line to the table.

    Parameters:
        honest: the answers that the sender may get.
    """
    sender = load.sender
    with sender:
        sender.wait_for(50)
        yield
        if load.caught_up_seconds is None:
            load.over()
        sender.wait_for(50)
    comparison = compare(load.engine, sender)
    table.append(
        Line(
            fault,
            requests=sender.answers.total(),
            accepted=sender.answers[202],
            unavailable=sender.answers[503],
            lost=len(comparison.lost) + len(sender.gave_up),
            duplicated=len(comparison.duplicated),
            caught_up_seconds=load.caught_up_seconds or 0.0,
        )
    )
    assert comparison.lost == [], comparison.lost[:10]
    assert comparison.duplicated == [], comparison.duplicated[:10]
    assert sender.gave_up == []
    assert set(sender.answers) <= honest
    assert sender.without_retry_after == 0
