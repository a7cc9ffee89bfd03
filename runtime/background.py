"""Tasks and threads in the background: if one fails, the failure is logged and counted, and it is started again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from prometheus_client import Counter

from runtime.logging import get_logger

logger = get_logger(__name__)

BACKGROUND_FAILURES = Counter(
    "ampeco_background_failures_total", "Failures of background tasks and jobs; each is started again", ["task"]
)

#: Delay before a failed task or thread is started again. It doubles each time that one fails soon after its start, up
#: to the maximum. A stop waits no longer than the maximum, too.
FIRST_RESTART_SECONDS = 0.1
MAX_RESTART_SECONDS = 5.0

#: If a task or thread ran for this long, the delay is reset.
STARTED_WELL_SECONDS = 10.0

CHECK_INTERVAL_SECONDS = 1.0

#: How long a task that is cancelled waits for what it has under way, such as a statement that Postgres does not answer.
END_SECONDS = 5.0

Result = TypeVar("Result")


class _Restarts:
    """The delays between the starts of one task or thread."""

    def __init__(self, name: str) -> None:
        self._failures = BACKGROUND_FAILURES.labels(name)
        self._name = name
        self._delay = FIRST_RESTART_SECONDS
        self._began = time.monotonic()

    def began(self) -> None:
        """Record a start."""
        self._began = time.monotonic()

    def after_failure(self) -> float:
        """Log and count the exception that is being handled; return the seconds to wait."""
        if time.monotonic() - self._began > STARTED_WELL_SECONDS:
            self._delay = FIRST_RESTART_SECONDS
        seconds, self._delay = self._delay, min(self._delay * 2, MAX_RESTART_SECONDS)
        self._failures.inc()
        logger.exception("background task failed, starting it again", task=self._name, seconds=seconds)
        return seconds


def supervised_task(name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Start a task that runs ``run`` until it returns, and runs it again if it raises.

    Parameters:
        name: its name in the log and in ``ampeco_background_failures_total``.
    """
    restarts = _Restarts(name)

    async def supervise() -> None:
        while True:
            restarts.began()
            try:
                return await run()
            except Exception:  # noqa: BLE001 - the task would otherwise end without a trace
                seconds = restarts.after_failure()
            await asyncio.sleep(seconds)

    return asyncio.create_task(supervise(), name=name)


async def to_the_end(work: Awaitable[Result]) -> Result:
    """Await work that runs in a thread, so that a task that is cancelled ends after it, or after ``END_SECONDS``.

    A thread cannot be cancelled. Without this it would still use what is closed once its task has ended.
    """
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        # A failure that comes now changes nothing any more, and asyncio would log one that is never looked at.
        running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await asyncio.wait({running}, timeout=END_SECONDS)
        raise


def supervised_thread(name: str, run: Callable[[], None]) -> threading.Thread:
    """Return an unstarted daemon thread that runs ``run`` until it returns, and runs it again if it raises."""
    restarts = _Restarts(name)

    def supervise() -> None:
        while True:
            restarts.began()
            try:
                return run()
            except Exception:  # noqa: BLE001 - the thread would otherwise end without a trace
                time.sleep(restarts.after_failure())

    return threading.Thread(target=supervise, name=name, daemon=True)


def wait_while_alive(stop: threading.Event, threads: Collection[threading.Thread]) -> bool:
    """Wait for a stop, or until one of the threads of a library ends; return whether all of them are alive.

    Such a thread cannot be started again, so its process has to end, and its supervisor starts a new one.
    """
    while not stop.wait(CHECK_INTERVAL_SECONDS):
        ended = [thread.name for thread in threads if not thread.is_alive()]
        if ended:
            for name in ended:
                BACKGROUND_FAILURES.labels(name).inc()
            logger.critical("a thread ended: this process stops and must be restarted", threads=ended)
            return False
    return True
