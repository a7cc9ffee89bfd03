"""Tasks and threads that run beside the work: one that fails is logged, counted and started again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Collection

from workers.logs import get_logger
from workers.metrics import BACKGROUND_FAILURES

logger = get_logger(__name__)

#: One that fails is started again after this long, twice as long each time that it fails soon after, up to the
#: longest; a stop waits no longer for it either.
FIRST_RESTART_SECONDS = 0.1
MAX_RESTART_SECONDS = 5.0

#: One that ran this long had started well.
STARTED_WELL_SECONDS = 10.0

CHECK_INTERVAL_SECONDS = 1.0


class _Restarts:
    """How long to wait before each start of one task or thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._delay = FIRST_RESTART_SECONDS
        self._began = time.monotonic()

    def began(self) -> None:
        self._began = time.monotonic()

    def after_failure(self) -> float:
        """Report the exception that is being handled; returns the seconds to wait."""
        if time.monotonic() - self._began > STARTED_WELL_SECONDS:
            self._delay = FIRST_RESTART_SECONDS
        seconds, self._delay = self._delay, min(self._delay * 2, MAX_RESTART_SECONDS)
        BACKGROUND_FAILURES.labels(self._name).inc()
        logger.exception("background task failed, starting it again", task=self._name, seconds=seconds)
        return seconds


def supervised_task(name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Start a task that runs ``run`` until it returns, again whenever it raises.

    Parameters:
        name: stands in the log and in ``ampeco_background_failures_total``.
    """

    async def supervise() -> None:
        restarts = _Restarts(name)
        while True:
            restarts.began()
            try:
                return await run()
            except Exception:  # noqa: BLE001 - whatever ends it ends it unseen otherwise
                seconds = restarts.after_failure()
            await asyncio.sleep(seconds)

    return asyncio.create_task(supervise(), name=name)


def supervised_thread(name: str, run: Callable[[], None]) -> threading.Thread:
    """Return a daemon thread, not started yet, that runs ``run`` until it returns, again whenever it raises."""

    def supervise() -> None:
        restarts = _Restarts(name)
        while True:
            restarts.began()
            try:
                return run()
            except Exception:  # noqa: BLE001 - whatever ends it ends it unseen otherwise
                time.sleep(restarts.after_failure())

    return threading.Thread(target=supervise, name=name, daemon=True)


def wait_while_alive(stop: threading.Event, threads: Collection[threading.Thread]) -> bool:
    """Wait for a stop, or for the end of one of the threads that a library runs; returns whether all live.

    Nothing can start such a thread again, so that its process has to end, and be started by what supervises it.
    """
    while not stop.wait(CHECK_INTERVAL_SECONDS):
        ended = [thread.name for thread in threads if not thread.is_alive()]
        if ended:
            for name in ended:
                BACKGROUND_FAILURES.labels(name).inc()
            logger.critical("a thread ended, leaving to be started again", threads=ended)
            return False
    return True
