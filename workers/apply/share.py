"""A worker's share of the open batches: which claimed batches are tried together, and which are postponed.

After a failure half as many batches are tried together, after a success twice as many. Batches that failed before are
tried after the others, those that failed most at the end, starting with a single one. So a batch that always fails
delays no other batch. While everything fails, little is tried; once the cause is gone, a backlog is applied in large
chunks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy import Engine

from storage.errors import is_unrelated_to_values
from storage.inbox.batches import Batch
from workers.apply.postponing import postpone, release, retry_later

#: A batch with more attempts than this is tried alone: a worker may have ended because of it.
ATTEMPTS_TOGETHER = 1

#: After so many failures in a row the other batches are not tried: they would fail, too.
MAX_FAILURES_IN_A_ROW = 5

#: If a worker whose time was up had computed for this long, the chunk was the cause, and not Postgres or the machine.
POISON_THRESHOLD_SECONDS = 5.0


class Share:
    """The open batches that one worker tries, until its time is over or too many attempts fail.

    Parameters:
        try_chunk: applies batches of one tenant together and returns the number of notifications that are applied or
            have an outcome. If it raises an error, the batches are still open.
        seconds: how long new chunks are started.

    Attributes:
        resolved: number of notifications that were applied or got an outcome.
        failure: the first failure that the notifications did not cause; None if there was none.
    """

    def __init__(self, engine: Engine, try_chunk: Callable[[Sequence[Batch]], int], *, seconds: float) -> None:
        self._engine = engine
        self._try_chunk = try_chunk
        self._deadline = time.monotonic() + seconds
        self._failures_in_a_row = 0
        self._failed: dict[UUID, Exception] = {}
        self.resolved = 0
        self.failure: Exception | None = None

    @property
    def is_over(self) -> bool:
        """Whether the time is over, or too many attempts in a row failed."""
        return time.monotonic() >= self._deadline or self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW

    def work(self, claimed: Sequence[Batch]) -> None:
        """Try the claimed batches; postpone those that cannot be applied now, and free those that were not tried.

        Raises:
            DBAPIError: Postgres stays down; the leases of the batches run out by themselves.
        """
        alone = [batch for batch in claimed if batch.attempts > ATTEMPTS_TOGETHER]
        others = sorted((batch for batch in claimed if batch not in alone), key=lambda batch: batch.failures)
        size = sum(not batch.failures for batch in others) or 1
        while (others or alone) and not self.is_over:
            chunk = others[:size] or alone[:1]
            if self._try(chunk, [*others, *alone]):
                size *= 2
            elif len(chunk) > 1:
                size = len(chunk) // 2
                continue
            del (others or alone)[: len(chunk)]
        self._release([*others, *alone])

    def _try(self, chunk: Sequence[Batch], claimed: Sequence[Batch]) -> bool:
        """Try a chunk and return whether it succeeded; a single batch that fails is postponed."""
        began, began_computing = time.monotonic(), time.thread_time()
        try:
            self.resolved += self._try_chunk(chunk)
        except Exception as error:  # noqa: BLE001 - it is recorded with the batches
            if is_unrelated_to_values(error):
                self.failure = self.failure or error
                self._failures_in_a_row += 1
                self._failed |= dict.fromkeys((batch.batch_id for batch in chunk), error)
            if len(chunk) == 1:
                postpone(self._engine, chunk, error, took_seconds=time.monotonic() - began)
            return False
        except BaseException as error:
            # The worker's time is up.
            if time.thread_time() - began_computing >= POISON_THRESHOLD_SECONDS:
                retry_later(self._engine, chunk, error)
            else:
                postpone(self._engine, chunk, error, took_seconds=time.monotonic() - began)
            self._release([batch for batch in claimed if batch not in chunk])
            raise
        self._failures_in_a_row = 0
        return True

    def _release(self, batches: Sequence[Batch]) -> None:
        """Postpone the batches that failed together with others, and free those that were not tried."""
        failed = [batch for batch in batches if batch.batch_id in self._failed]
        if failed:
            postpone(self._engine, failed, self._failed[failed[0].batch_id], took_seconds=0.0)
        release(self._engine, [batch for batch in batches if batch.batch_id not in self._failed])
