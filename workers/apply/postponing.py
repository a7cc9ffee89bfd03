"""Postpone batches whose attempt failed for a reason outside of their notifications, and log the reason.

The database, its settings, a pooler or our own code failed, so no notification gets an outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from runtime.errors import describe, place
from runtime.logging import Throttle, get_logger
from storage.errors import is_unrelated_to_values
from storage.inbox import attempts
from storage.inbox.batches import LEASE, Batch
from workers.metrics import BATCHES_POSTPONED

logger = get_logger(__name__)

#: Repeated attempts that take long, as when notifications are tried one by one, use at most this share of a thread. The
#: delay that results is at most a lease: if a process was stopped for a minute, the batches did not cause that.
MAX_SHARE = 0.1

_is_new = Throttle()


class PostponedError(Exception):
    """Open batches were postponed because the database, the machine or this release failed."""


def postpone(engine: Engine, batches: Sequence[Batch], error: BaseException, *, took_seconds: float) -> None:
    """Postpone batches to a later attempt and log the cause; the failed attempt does not count.

    Parameters:
        took_seconds: how long the failed attempt took.

    Raises:
        DBAPIError: Postgres stays down; the leases of the batches run out by themselves.
    """
    tenant, described = batches[0].tenant, describe(error)
    name = described.partition(":")[0]
    BATCHES_POSTPONED.labels(tenant, name).inc(len(batches))
    if _is_new(name):
        logger.warning(
            "batches postponed: not the notifications failed, but the database, the machine or this release; retrying",
            tenant=tenant,
            batches=len(batches),
            first_batch=str(batches[0].batch_id),
            error=described,
            where=place(error),
        )
    at_least = min(timedelta(seconds=took_seconds / MAX_SHARE), LEASE)
    ids = [batch.batch_id for batch in batches]
    _patiently(engine, tenant, lambda c: attempts.postpone(c, tenant, ids, at_least=at_least, error=described))


def release(engine: Engine, batches: Sequence[Batch]) -> None:
    """Free claimed batches that were not tried.

    Raises:
        DBAPIError: Postgres stays down; the leases of the batches run out by themselves.
    """
    if batches:
        tenant, ids = batches[0].tenant, [batch.batch_id for batch in batches]
        _patiently(engine, tenant, lambda c: attempts.release(c, tenant, ids))


def retry_later(engine: Engine, batches: Sequence[Batch], error: BaseException) -> None:
    """Postpone batches that used up a worker's time to an attempt soon; the failed attempt counts.

    Raises:
        DBAPIError: Postgres stays down; the leases of the batches run out by themselves.
    """
    tenant, ids = batches[0].tenant, [batch.batch_id for batch in batches]
    _patiently(
        engine,
        tenant,
        lambda c: attempts.retry_later(c, tenant, ids, after=attempts.FIRST_RETRY, error=describe(error)),
    )


def _patiently(engine: Engine, tenant: str, write: Callable[[Connection], None]) -> None:
    """Write in a transaction of its own, and wait for Postgres if it is restarting after a crash."""

    def attempt() -> None:
        with engine.begin() as connection:
            write(connection)

    # This thread has nothing else to do: without Postgres nothing can be applied.
    patient = Retrying(
        retry=retry_if_exception(lambda failure: isinstance(failure, DBAPIError) and is_unrelated_to_values(failure)),
        wait=wait_random_exponential(multiplier=0.1, max=1),
        stop=stop_after_delay(LEASE),
        reraise=True,
    )
    try:
        patient(attempt)
    except DBAPIError as failure:
        logger.warning("batches stay leased", tenant=tenant, error=describe(failure))
        raise
