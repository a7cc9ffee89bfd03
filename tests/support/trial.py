"""A fault under load: the service at work on servers of its own, and what became of every 2xx."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from tests.support.ledger import SETTLE_SECONDS, compare
from tests.support.processes import Process, Processes
from tests.support.sender import Sender
from tests.support.servers import PostgresServer, RedisServer
from tests.support.service import eventually

#: What a sender may be answered: it was accepted, it should send again, or nobody was there.
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
    """The load of one trial, and when its fault was over."""

    sender: Sender
    engine: Engine
    caught_up_seconds: float | None = None

    def over(self) -> None:
        """The fault is over: wait until what was accepted before this is settled, under load."""
        began = time.monotonic()
        eventually(self._now, seconds=SETTLE_SECONDS)
        at = self._now()
        eventually(lambda: self._settled_until(at), seconds=SETTLE_SECONDS)
        self.caught_up_seconds = time.monotonic() - began

    def _now(self) -> object:
        with contextlib.suppress(DBAPIError), self.engine.connect() as connection:
            return connection.execute(text("SELECT now()")).scalar_one()
        return None

    def _settled_until(self, at: object) -> bool:
        statement = text("SELECT NOT EXISTS (SELECT FROM ingest.batch WHERE applied_at IS NULL AND committed_at < :at)")
        with contextlib.suppress(DBAPIError), self.engine.connect() as connection:
            return bool(connection.execute(statement, {"at": at}).scalar_one())
        return False


@dataclass
class Ground:
    """What a trial stands on: two servers, and the processes that use them.

    Attributes:
        receiver, worker: the first of each, started already.
        table: where each trial leaves its line.
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
        """A steady load meanwhile; afterwards nothing may be lost, and nothing be there twice."""
        sender = Sender(self.service.urls)
        with sender:
            load = Load(sender, self.engine)
            sender.wait_for(50)
            yield load
            if load.caught_up_seconds is None:
                load.over()
            sender.wait_for(50)
        found = compare(self.engine, sender)
        self.table.append(
            Line(
                fault,
                requests=sender.answers.total(),
                accepted=sender.answers[202],
                unavailable=sender.answers[503],
                lost=len(found.lost) + len(sender.gave_up),
                duplicated=len(found.duplicated),
                caught_up_seconds=load.caught_up_seconds or 0.0,
            )
        )
        assert found.lost == [], found.lost[:10]
        assert found.duplicated == [], found.duplicated[:10]
        assert sender.gave_up == []
        assert set(sender.answers) <= HONEST
        assert sender.without_retry_after == 0
