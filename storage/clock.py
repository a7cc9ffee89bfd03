"""Give the time of Postgres's clock, which all processes of the service share.

Each process measures the offset between Postgres's clock and the steady clock of its machine, whenever it connects
and every ten seconds. So ids, times of receipt and ages stay correct if the machine's wall clock is wrong or is set
while the process runs. Until the first measurement the process uses the wall clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
from sqlalchemy import Connection

#: A clock that keeps counting while the machine sleeps, if the platform has one.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

#: The time is selected as a number, so that no setting of the session changes its format.
_NOW: LiteralString = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _steady_ns() -> int:
    return time.clock_gettime_ns(_STEADY)


class Clock:
    """Postgres's time, computed from the last measurements and a steady clock."""

    def __init__(self) -> None:
        self._offset_ns: int | None = None
        self._lock = threading.Lock()

    @property
    def is_measured(self) -> bool:
        """Whether the time is that of Postgres's clock; otherwise it is that of the wall clock."""
        return self._offset_ns is not None

    def now_ns(self) -> int:
        """Return the time in nanoseconds since 1970."""
        offset_ns = self._offset_ns
        return time.time_ns() if offset_ns is None else _steady_ns() + offset_ns

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return _EPOCH + timedelta(microseconds=self.now_ns() // 1_000)

    def wall_offset_seconds(self) -> float:
        """Return how far the wall clock of this machine is ahead, in seconds; negative if it is behind."""
        return (time.time_ns() - self.now_ns()) / 1e9

    @contextmanager
    def _measuring(self) -> Iterator[list[int]]:
        """Update the offset from Postgres's time in microseconds, which the block appends to the yielded list.

        Postgres read its clock between the block's beginning and end, which bounds the offset.
        """
        answers: list[int] = []
        began_ns = _steady_ns()
        yield answers
        ended_ns = _steady_ns()
        postgres_ns = answers[0] * 1_000
        least, most = postgres_ns - ended_ns, postgres_ns - began_ns
        with self._lock:
            # An offset within the bounds is kept, so that times do not jitter with the network.
            self._offset_ns = (least + most) // 2 if self._offset_ns is None else min(max(self._offset_ns, least), most)

    def measure(self, connection: Connection) -> None:
        """Measure Postgres's clock."""
        with self._measuring() as answers:
            answers.append(connection.exec_driver_sql(_NOW).scalar_one())

    def measure_new(self, connection: psycopg.Connection[Any], _record: object = None) -> None:
        """Measure Postgres's clock on a connection that was just opened, outside of any transaction."""
        connection.autocommit = True
        with self._measuring() as answers:
            row = connection.execute(_NOW).fetchone()
            assert row is not None
            answers.append(row[0])
        connection.autocommit = False

    async def measure_async(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Measure Postgres's clock on a connection in autocommit."""
        with self._measuring() as answers:
            row = await (await connection.execute(_NOW)).fetchone()
            assert row is not None
            answers.append(row[0])


#: The clock of this process.
clock = Clock()
