"""The two measurements with workers: the rate of applying, and the time until a notification is visible."""

from __future__ import annotations

import bisect
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from bench.generator import Figures, Generator
from bench.processes import BenchError, tail
from bench.surroundings import Surroundings

#: The longest wait between the last 202 and the last closed batch; beyond it a run fails.
SETTLE_TIMEOUT_SECONDS = 120.0

#: The interval at which open batches are polled, which is the largest error that polling adds to a time.
LOOK_SECONDS = 0.005

_OPEN = "SELECT batch_id FROM ingest.batch WHERE applied_at IS NULL"

_STORED = """
SELECT coalesce(sum(notifications), 0),
       extract(epoch FROM clock_timestamp() - min(committed_at))::float8,
       (SELECT count(*) FROM ingest.refresh_request)
  FROM ingest.batch
 WHERE committed_at >= %s
"""

_DERIVED_UNTIL = """
SELECT extract(epoch FROM derived_until)::float8
  FROM analytics.feed
 WHERE derived_until > '-infinity'
"""

_FAILED = "SELECT reason, error FROM ingest.outcome WHERE state = 'failed' LIMIT 1"


@dataclass(frozen=True, slots=True)
class Applied:
    """The notifications accepted in a measurement, and the time until the last batch was closed."""

    sent: Figures
    accepted: int
    seconds: float
    reads_waiting: int

    @property
    def per_second(self) -> float:
        """Notifications accepted and applied in a second."""
        return self.accepted / self.seconds


@dataclass(frozen=True, slots=True)
class Visible:
    """The times from a notification's 202 until its batch is visibly applied, and from then until it is derived."""

    notifications: int
    rate: int
    p50_ms: float
    p99_ms: float
    derived_p50_ms: float
    derived_p99_ms: float


def accepted_and_applied(ground: Surroundings, generator: Generator, requests: Path, seconds: int) -> Applied:
    """Send at full speed, then wait until every accepted batch is closed."""
    with ground.connect() as connection:
        began = connection.execute("SELECT clock_timestamp()").fetchone()
        sent = generator.full_speed(ground.ports["ours"], requests, seconds)
        wait_until_settled(connection, ground)
        # Measured by Postgres's clock alone, from the start of the first commit.
        row = connection.execute(_STORED, began).fetchone()
    assert row is not None
    applied = Applied(sent, *row)
    if applied.accepted < sent.answers:
        raise BenchError(f"{sent.answers} notifications were acknowledged, and {applied.accepted} are stored.")
    return applied


def until_visible(ground: Surroundings, generator: Generator, requests: Path, seconds: int, rate: int) -> Visible:
    """Send at a steady rate, and measure for each notification when another connection sees its batch applied."""
    ledger = ground.folder / "ledger.json"
    with ground.connect() as connection:
        with _watching(ground) as looks:
            generator.steady(ground.ports["ours"], requests, seconds, rate, ledger)
            wait_until_settled(connection, ground)
            wait_until_derived(connection, ground)
        acknowledged = {UUID(name): at for name, at in json.loads(ledger.read_text())}
        rows = connection.execute(
            "SELECT notification_id, batch_id FROM ingest.notification_state WHERE notification_id = ANY(%s)",
            (list(acknowledged),),
        )
        batch_of = dict(rows.fetchall())
        applied_at = dict(
            connection.execute("SELECT batch_id, extract(epoch FROM applied_at)::float8 FROM ingest.batch").fetchall()
        )
    if lost := len(acknowledged) - len(batch_of):
        raise BenchError(f"{lost} notifications were acknowledged and are not stored.")
    visible_at = {name: looks.visible_at(batch_of[name], at) for name, at in acknowledged.items()}
    waits = sorted(visible_at[name] - at for name, at in acknowledged.items())
    derived = sorted(max(looks.derived_at(applied_at[batch_of[name]]) - at, 0.0) for name, at in visible_at.items())
    shown = [values[int(len(values) * part)] * 1000 for values in (waits, derived) for part in (0.5, 0.99)]
    return Visible(len(waits), rate, *shown)


def wait_until_settled(connection: psycopg.Connection[tuple[Any, ...]], ground: Surroundings) -> None:
    """Wait until no batch is open.

    Raises:
        BenchError: the wait takes too long, or a notification failed.
    """
    deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    while connection.execute(_OPEN + " LIMIT 1").fetchone():
        if time.monotonic() > deadline:
            raise BenchError(f"A batch is still open after {SETTLE_TIMEOUT_SECONDS:g} s:\n{tail(ground.log)}")
        time.sleep(LOOK_SECONDS)
    if failed := connection.execute(_FAILED).fetchone():
        raise BenchError(f"A notification of the load failed: {failed[0]}: {failed[1]}")


def wait_until_derived(connection: psycopg.Connection[tuple[Any, ...]], ground: Surroundings) -> None:
    """Wait until no change is marked.

    Raises:
        BenchError: the wait takes too long.
    """
    deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    while connection.execute("SELECT FROM analytics.dirty LIMIT 1").fetchone():
        if time.monotonic() > deadline:
            raise BenchError(f"Changes are still to be derived after {SETTLE_TIMEOUT_SECONDS:g} s:\n{tail(ground.log)}")
        time.sleep(LOOK_SECONDS)


class _Looks:
    """The open batches, and how far everything is derived, at each poll."""

    def __init__(self) -> None:
        self._derived_until: list[float] = []
        self._began: list[float] = []
        self._ended: list[float] = []
        self._open: list[frozenset[UUID]] = []

    def look(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        began = time.time()
        still_open = frozenset(batch_id for (batch_id,) in connection.execute(_OPEN))
        derived_until = connection.execute(_DERIVED_UNTIL).fetchone()
        self._began.append(began)
        self._ended.append(time.time())
        self._open.append(still_open)
        self._derived_until.append(derived_until[0] if derived_until else 0.0)

    def visible_at(self, batch_id: UUID, acknowledged_at: float) -> float:
        """Return the end of the first poll that began after the 202 and found the batch closed.

        Before the 202 the batch may not be committed, so its absence among the open ones proves nothing.
        """
        position = bisect.bisect_left(self._began, acknowledged_at)
        while batch_id in self._open[position]:
            position += 1
        return self._ended[position]

    def derived_at(self, applied_at: float) -> float:
        """Return the end of the first poll that found derived what was applied at a time."""
        # What was applied last may have changed nothing from which rows are derived.
        return self._ended[min(bisect.bisect_right(self._derived_until, applied_at), len(self._ended) - 1)]


@contextmanager
def _watching(ground: Surroundings) -> Iterator[_Looks]:
    looks, enough = _Looks(), threading.Event()

    def watch() -> None:
        with ground.connect() as connection:
            while not enough.wait(LOOK_SECONDS):
                looks.look(connection)
            looks.look(connection)

    watcher = threading.Thread(target=watch, name="watcher", daemon=True)
    watcher.start()
    try:
        yield looks
    finally:
        enough.set()
        watcher.join()
