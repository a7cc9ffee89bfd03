"""The time that the service goes by: Postgres's, which all its processes share.

Each process measures how far Postgres's clock is from the steady clock of its machine, whenever it connects and every
ten seconds. So the wall clock of the machine may be wrong, or be set while the process runs: ids, times of receipt and
ages stay right. Until the first measurement the wall clock has to do.
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

#: Counts on while the machine sleeps, where there is such a clock.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

#: As a number, so that no setting of the session changes how it is written.
_NOW: LiteralString = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _steady_ns() -> int:
    return time.clock_gettime_ns(_STEADY)


class Clock:
    """Tells Postgres's time, from the last measurements and a steady clock."""

    def __init__(self) -> None:
        self._offset_ns: int | None = None
        self._lock = threading.Lock()

    @property
    def is_measured(self) -> bool:
        """Whether the time is Postgres's; else it is the wall clock's."""
        return self._offset_ns is not None

    def now_ns(self) -> int:
        """Return the time in nanoseconds since 1970."""
        offset_ns = self._offset_ns
        return time.time_ns() if offset_ns is None else _steady_ns() + offset_ns

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return _EPOCH + timedelta(microseconds=self.now_ns() // 1_000)

    def wall_offset_seconds(self) -> float:
        """Return how far the wall clock of this machine is ahead; negative where it is behind."""
        return (time.time_ns() - self.now_ns()) / 1e9

    @contextmanager
    def _measuring(self) -> Iterator[list[int]]:
        """Learn from what Postgres told within the block, in microseconds: a time between its beginning and its end."""
        told: list[int] = []
        began_ns = _steady_ns()
        yield told
        ended_ns = _steady_ns()
        postgres_ns = told[0] * 1_000
        least, most = postgres_ns - ended_ns, postgres_ns - began_ns
        with self._lock:
            # What is within the bounds stays, so that times do not jitter with the network.
            self._offset_ns = (least + most) // 2 if self._offset_ns is None else min(max(self._offset_ns, least), most)

    def measure(self, connection: Connection) -> None:
        """Measure Postgres's clock."""
        with self._measuring() as told:
            told.append(connection.exec_driver_sql(_NOW).scalar_one())

    def measure_new(self, connection: psycopg.Connection[Any], _record: object = None) -> None:
        """Measure Postgres's clock on a connection that was just made, outside of any transaction."""
        connection.autocommit = True
        with self._measuring() as told:
            row = connection.execute(_NOW).fetchone()
            assert row is not None
            told.append(row[0])
        connection.autocommit = False

    async def measure_async(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Measure Postgres's clock on a connection in autocommit."""
        with self._measuring() as told:
            row = await (await connection.execute(_NOW)).fetchone()
            assert row is not None
            told.append(row[0])


#: This process's.
clock = Clock()
