"""Wake a worker after a commit, outside of the accept path.

A wake-up that cannot be sent is dropped: the batch is in Postgres, and the sweep sends another wake-up.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from dramatiq.brokers.redis import RedisBroker

from receiver.accept.metrics import WAKEUPS_DROPPED
from runtime.background import supervised_thread
from runtime.errors import cause
from runtime.logging import get_logger
from storage.inbox.commit import CommitGroup
from workers.broker import APPLY_QUEUE, apply_message, has_enough

logger = get_logger(__name__)

#: If more wake-ups than this wait, Redis is down or far too slow, and further ones are left to the sweep.
MAX_WAITING = 1_000

#: The batches that are committed within this time after a wake-up share the next one, because a message wakes a worker
#: for every open batch. An idle receiver sends at once. One wake-up for each batch would cost a busy receiver a third
#: of its throughput.
MIN_INTERVAL_SECONDS = 0.02


#: Most requests to which a wake-up leads back, as many as a span has links by default.
MAX_TRACEPARENTS = 128


@dataclass(slots=True)
class _WakeUp:
    """A wake-up that waits: a batch, and the trace contexts of the requests that are traced."""

    batch_id: UUID
    traceparents: list[str]


class Notifier:
    """Wakes a worker after commits, from a thread of its own."""

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker
        self._waiting: queue.Queue[_WakeUp | None] = queue.Queue(MAX_WAITING)
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
            traceparents = [entry.traceparent for entry in group.entries if entry.traceparent is not None]
            try:
                self._waiting.put_nowait(_WakeUp(group.batch_id, traceparents))
            except queue.Full:
                WAKEUPS_DROPPED.inc()

    def _run(self) -> None:
        failing: str | None = None
        while (wake_up := self._waiting.get()) is not None:
            stopping = self._absorb_waiting(wake_up)
            now_failing = self._send(wake_up)
            if now_failing and now_failing != failing:
                logger.warning("wake-up not sent; the sweep sends another one", error=now_failing)
            elif failing and not now_failing:
                logger.info("wake-ups are sent again")
            failing = now_failing
            if stopping:
                return
            time.sleep(MIN_INTERVAL_SECONDS)

    def _send(self, wake_up: _WakeUp) -> str | None:
        """Send a wake-up, unless enough of them are queued; return why it could not be sent, or None."""
        try:
            if not has_enough(self._broker, APPLY_QUEUE):
                self._broker.enqueue(apply_message(wake_up.batch_id, wake_up.traceparents[:MAX_TRACEPARENTS]))
        except Exception as error:  # noqa: BLE001 - the thread must not end: the next wake-up may be sent
            WAKEUPS_DROPPED.inc()
            return cause(error)
        return None

    def _absorb_waiting(self, wake_up: _WakeUp) -> bool:
        """Let a wake-up replace those that wait; return whether to stop."""
        while not self._waiting.empty():
            replaced = self._waiting.get_nowait()
            if replaced is None:
                return True
            wake_up.traceparents += replaced.traceparents
        return False
