"""The progress of a command that reads the log: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from receiver.terminal import errors
from runtime.logging import get_logger

logger = get_logger(__name__)

#: How often a log line shows the progress if the output is not a terminal.
LINE_INTERVAL_SECONDS = 10.0


class Stop(threading.Event):
    """An event that Ctrl-C and SIGTERM set; ``exit_code`` is that of a process that the signal ends."""

    exit_code = 0

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        self.exit_code = 128 + number
        self.set()


@contextmanager
def until_told_to_stop() -> Iterator[Stop]:
    """Yield an event that Ctrl-C and SIGTERM set, so that the current chunk is finished before the command ends."""
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop.on_signal) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class LogProgress:
    """The progress of a tenant: the number of notifications done, their total, the rate and the time left."""

    def __init__(self, tenant: str, total: int) -> None:
        self._tenant, self._total = tenant, total
        self._began = self._last_line = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=errors,
            disable=not errors.is_terminal,
        )
        self._task = self._progress.add_task(tenant, total=total, rate="")

    def __enter__(self) -> LogProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, done: int, reached_at: datetime | None) -> None:
        """Show the progress.

        Parameters:
            done: number of notifications done.
            reached_at: when the last of them was received.
        """
        now = time.monotonic()
        rate = done / max(now - self._began, 0.001)
        self._progress.update(self._task, completed=done, rate=f"{rate:,.0f}/s")
        if self._progress.disable and now - self._last_line >= LINE_INTERVAL_SECONDS:
            self._last_line = now
            logger.info(
                "progress",
                tenant=self._tenant,
                notifications=done,
                of=self._total,
                reached_at=reached_at.isoformat() if reached_at else None,
                per_second=round(rate),
                seconds_left=round(max(self._total - done, 0) / rate) if rate else None,
            )
