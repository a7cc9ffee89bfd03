"""A share of the open batches: which of those that were claimed are tried together, and which are left for later.

After a failure half as many are tried together, after a success twice as many. Batches that failed before come after
the others, those that failed most at the end, and begin with a single one. So one that fails for good holds up no
other, while everything fails little is tried, and a backlog is worked off in large chunks once the surroundings are
right again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy import Engine

from storage.batches import Batch
from storage.errors import is_passing
from workers.putting_off import give_back, hand_back, put_off

#: A batch that a worker left behind is tried by itself: the worker may have ended because of it.
ATTEMPTS_TOGETHER = 1

#: After so many failures in a row the rest would fail, too.
MAX_FAILURES_IN_A_ROW = 5

#: A worker that computed for this long until its time was up was held up by what it had in hand, and not by Postgres or
#: the machine.
POISON_THRESHOLD_SECONDS = 5.0


class Share:
    """What one worker tries of the open batches, until its time is over or too much fails.

    Parameters:
        try_chunk: applies batches of one tenant together and returns how many notifications are done with. Whatever it
            raises, the batches are still open.
        seconds: how long new chunks are begun.

    Attributes:
        resolved: how many notifications were applied or got an outcome.
        failure: what failed first, through no fault of what was sent; None where nothing did.
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
        return time.monotonic() >= self._deadline or self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW

    def work(self, claimed: Sequence[Batch]) -> None:
        """Try the claimed batches; those that cannot be applied now are put off, those that were not tried are freed.

        Raises:
            DBAPIError: Postgres stays away; the leases of the batches run out by themselves.
        """
        alone = [batch for batch in claimed if batch.attempts > ATTEMPTS_TOGETHER]
        others = sorted((batch for batch in claimed if batch not in alone), key=lambda batch: batch.failures)
        size = sum(not batch.failures for batch in others) or 1
        while (others or alone) and not self.is_over:
            chunk = others[:size] or alone[:1]
            if self._is_done(chunk, [*others, *alone]):
                size *= 2
            elif len(chunk) > 1:
                size = len(chunk) // 2
                continue
            del (others or alone)[: len(chunk)]
        self._leave([*others, *alone])

    def _is_done(self, chunk: Sequence[Batch], in_hand: Sequence[Batch]) -> bool:
        """Try a chunk; a single batch that fails is put off."""
        began, began_computing = time.monotonic(), time.thread_time()
        try:
            self.resolved += self._try_chunk(chunk)
        except Exception as error:  # noqa: BLE001 - it is recorded with the batches
            if is_passing(error):
                self.failure = self.failure or error
                self._failures_in_a_row += 1
                self._failed |= dict.fromkeys((batch.batch_id for batch in chunk), error)
            if len(chunk) == 1:
                put_off(self._engine, chunk, error, took_seconds=time.monotonic() - began)
            return False
        except BaseException as error:
            # The worker's time is up.
            if time.thread_time() - began_computing >= POISON_THRESHOLD_SECONDS:
                give_back(self._engine, chunk, error)
            else:
                put_off(self._engine, chunk, error, took_seconds=time.monotonic() - began)
            self._leave([batch for batch in in_hand if batch not in chunk])
            raise
        self._failures_in_a_row = 0
        return True

    def _leave(self, batches: Sequence[Batch]) -> None:
        """Put off what failed with others, and free what was not tried."""
        failed = [batch for batch in batches if batch.batch_id in self._failed]
        if failed:
            put_off(self._engine, failed, self._failed[failed[0].batch_id], took_seconds=0.0)
        hand_back(self._engine, [batch for batch in batches if batch.batch_id not in self._failed])
