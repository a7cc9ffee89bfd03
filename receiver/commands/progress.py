"""The progress of long work, for every command: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
def until_asked_to_stop() -> Iterator[Stop]:
    """Yield an event that Ctrl-C and SIGTERM set, so that the current chunk is finished before the command ends."""
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop.on_signal) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class WorkProgress:
    """The progress of a command's long work, one piece after the other.

    Parameters:
        unit: what is counted, in the plural, such as ``notifications``.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="yellow"),
            console=errors,
            disable=not errors.is_terminal,
        )

    def __enter__(self) -> WorkProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        for piece in self._progress.task_ids:
            self._progress.update(piece, visible=True)
        self._progress.stop()

    def begin(self, total: int | None, **labels: str) -> Piece:
        """Begin a piece of the work, and show it below those before, of which the last ones fit on the screen.

        Parameters:
            total: how much there is to do; None if that is not known.
            labels: the names of the piece, such as its tenant.
        """
        piece = Piece(self._progress, self._unit, total, labels)
        rows = max(errors.height - 1, 1)
        for passed in self._progress.task_ids[-rows - 1 : -rows]:
            self._progress.update(passed, visible=False)
        return piece


class Piece:
    """A piece of long work: how much is done, the total, the rate and the time left."""

    def __init__(self, progress: Progress, unit: str, total: int | None, labels: dict[str, str]) -> None:
        self._progress = progress
        self._unit, self._total, self._labels = unit, total, labels
        self._done = 0
        self._began = self._last_line = time.monotonic()
        self._task = progress.add_task(": ".join(labels.values()), total=total, rate="", note="")

    def advance(self, done: int, *, total: int | None = None, note: str = "", **details: object) -> None:
        """Show how much is done.

        Parameters:
            done: how much is done of the whole piece.
            total: how much there is to do, if that has changed.
            note: a text beside the bar.
            details: further values for log lines.
        """
        self._done, self._total = done, self._total if total is None else total
        now = time.monotonic()
        rate = done / max(now - self._began, 0.001)
        self._progress.update(self._task, completed=done, total=self._total, rate=f"{rate:,.0f}/s", note=note)
        if self._progress.disable and now - self._last_line >= LINE_INTERVAL_SECONDS:
            self._last_line = now
            left = None if self._total is None or not rate else round(max(self._total - done, 0) / rate)
            self._log(per_second=round(rate, 1), seconds_left=left, **details)

    def note(self, note: str) -> None:
        """Show what the work waits for, or why it ended early."""
        self._progress.update(self._task, note=note)
        if self._progress.disable:
            self._log(note=note)

    def end(self) -> None:
        """Show that the piece is done: what was done is its total."""
        self._progress.update(self._task, completed=self._done, total=self._done, note="")

    def leave(self, why: str) -> None:
        """Show in a line of its own why the work leaves this piece for others; it may be begun again later."""
        if self._progress.disable:
            self._log(note=why)
        else:
            line = f"{': '.join(self._labels.values())} {why}"
            self._progress.console.print(line, style="yellow", highlight=False, soft_wrap=True)
        self._progress.remove_task(self._task)

    def _log(self, **details: object) -> None:
        logger.info("progress", **self._labels, **{self._unit: self._done}, of=self._total, **details)
