"""Wake a worker after a commit, outside of the accept path.

A wake-up that cannot be sent is dropped: the batch is in Postgres, and the sweep sends another wake-up.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from uuid import UUID

from dramatiq import Broker

from receiver.accept.metrics import WAKEUPS_DROPPED
from runtime.background import supervised_thread
from runtime.errors import cause
from runtime.logging import get_logger
from storage.inbox.commit import CommitGroup
from workers.broker import apply_message

logger = get_logger(__name__)

#: If more wake-ups than this wait, Redis is down or far too slow, and further ones are left to the sweep.
MAX_WAITING = 1_000

#: The batches that are committed within this time after a wake-up share the next one, because a message wakes a worker
#: for every open batch. An idle receiver sends at once. One wake-up for each batch would cost a busy receiver a third
#: of its throughput.
MIN_INTERVAL_SECONDS = 0.02


class Notifier:
    """Wakes a worker after commits, from a thread of its own."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._waiting: queue.Queue[UUID | None] = queue.Queue(MAX_WAITING)
        self._thread = supervised_thread("notifier", self._run)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Send the waiting wake-ups, then end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def notify(self, groups: Sequence[CommitGroup]) -> None:
        """Wake workers for committed groups, without waiting."""
        for group in groups:
            try:
                self._waiting.put_nowait(group.batch_id)
            except queue.Full:
                WAKEUPS_DROPPED.inc()

    def _run(self) -> None:
        failing: str | None = None
        while (batch_id := self._waiting.get()) is not None:
            stopping = self._drop_waiting()
            now_failing = self._send(batch_id)
            if now_failing and now_failing != failing:
                logger.warning("wake-up not sent; the sweep sends another one", error=now_failing)
            elif failing and not now_failing:
                logger.info("wake-ups are sent again")
            failing = now_failing
            if stopping:
                return
            time.sleep(MIN_INTERVAL_SECONDS)

    def _send(self, batch_id: UUID) -> str | None:
        """Send a wake-up; return why it could not be sent, or None if it was."""
        try:
            self._broker.enqueue(apply_message(batch_id))
        except Exception as error:  # noqa: BLE001 - the thread must not end: the next wake-up may be sent
            WAKEUPS_DROPPED.inc()
            return cause(error)
        return None

    def _drop_waiting(self) -> bool:
        """Drop the waiting wake-ups, because the current one replaces them; return whether to stop."""
        while not self._waiting.empty():
            if self._waiting.get_nowait() is None:
                return True
        return False
