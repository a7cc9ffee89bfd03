"""The reads that a round has claimed: which are still open, and what becomes of those that fail or wait."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

from pydantic import ValidationError
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from storage import refresh_queue
from storage.errors import is_passing
from storage.refresh_queue import RefreshRequest
from workers.context import Context
from workers.errors import describe
from workers.logs import get_logger
from workers.metrics import API_READS

logger = get_logger(__name__)

#: A round that failed by a fault of ours is left for this long: of Postgres's, which is most often over
#: by then, or of any other kind, so that it does not use up the tenant's calls.
PASSING_DELAY = timedelta(seconds=1)
FAULT_DELAY = timedelta(seconds=30)

#: For how long a Postgres that is away is waited for, to give back what was claimed.
GIVE_BACK_SECONDS = 60.0

#: A read that did not resolve its request is tried again after about 5 s, 10 s, … up to an hour.
FIRST_RETRY = timedelta(seconds=5)
MAX_RETRY = timedelta(hours=1)

#: What so many reads did not resolve, some two days, waits for a person, or for nothing: it is tried
#: once a day, so that it does not eat up the tenant's budget for ever.
MANY_ATTEMPTS = 60
RETRY_OF_MANY = timedelta(days=1)


class ClaimedReads:
    """The claimed reads of one kind of one tenant.

    Attributes:
        open: those that are neither resolved nor left, most urgent first, by their keys.
        resolved: how many were resolved.
        marks: the requests that the resolved ones stand for.
        were_left: whether reads were left because of the tenant or the time.
    """

    def __init__(self, context: Context, tenant: str, requests: Sequence[RefreshRequest]) -> None:
        self.context = context
        self.tenant = tenant
        self.kind = requests[0].kind
        self.open = {request.key: request for request in requests}
        self.resolved = 0
        self.requests = 0
        self.were_left = False

    def note_resolved(self, requests: Sequence[RefreshRequest]) -> None:
        """Count reads that were finished, once that is committed."""
        for request in requests:
            del self.open[request.key]
            self.resolved += 1
            self.requests += request.generation
            logger.debug("settled", **request_labels(request), reason=request.reason)

    def fail(self, request: RefreshRequest, error: Exception) -> None:
        """Try a read again later, as it failed by itself."""
        described = describe(error) if isinstance(error, DBAPIError | ValidationError) else str(error)
        logger.warning("read failed", **request_labels(request), error=described)
        API_READS.labels(self.tenant, type(error).__name__.lower()).inc()
        self.retry(request, described)

    def retry(self, request: RefreshRequest, why: str) -> None:
        """Try a read again after a time that grows with its attempts."""
        self.postpone([request], _retry_delay(request.attempts), why, counts=True)

    def leave(self, delay: timedelta, error: str | None, *, counts: bool) -> None:
        """Leave all that is open, because of the tenant or the time."""
        if self.open:
            self.were_left = True
            self.postpone(list(self.open.values()), delay, error, counts=counts)

    def leave_kind(self) -> None:
        """Leave all that is open, as the kind may not be read: `status` shows that, and other kinds go on."""
        if self.open:
            self.postpone(list(self.open.values()), timedelta(0), None, counts=False)

    def postpone(
        self, requests: Sequence[RefreshRequest], delay: timedelta, error: str | None, *, counts: bool
    ) -> None:
        """Put reads off; the parameters are those of :func:`storage.refresh_queue.postpone`."""
        with self.context.engine.begin() as connection:
            refresh_queue.postpone(connection, self.tenant, requests, delay=delay, error=error, counts=counts)
        for request in requests:
            del self.open[request.key]


def give_back(context: Context, tenant: str, requests: Sequence[RefreshRequest], error: BaseException) -> None:
    """Free what a round that failed has still claimed; where Postgres stays away, the leases run out.

    What it resolved, or left for later, is no longer under its claim and stays as it is.
    """
    passing = isinstance(error, RedisError | SQLAlchemyError | OSError) and is_passing(error)

    def attempt() -> None:
        with context.engine.begin() as connection:
            delay = PASSING_DELAY if passing else FAULT_DELAY
            refresh_queue.postpone(connection, tenant, requests, delay=delay, error=None, counts=not passing)

    # A Postgres that comes back from a crash is waited for: this thread has nothing else to do.
    patient = Retrying(
        retry=retry_if_exception_type(SQLAlchemyError),
        wait=wait_random_exponential(multiplier=0.1, max=1),
        stop=stop_after_delay(GIVE_BACK_SECONDS),
        reraise=True,
    )
    try:
        patient(attempt)
    except SQLAlchemyError as failure:
        logger.warning("reads stay leased", tenant=tenant, reads=len(requests), error=describe(failure))


def request_labels(request: RefreshRequest) -> dict[str, object]:
    """Return what names a read in the log."""
    return {
        "tenant": request.tenant,
        "kind": request.kind,
        "entity_id": request.entity_id,
        "request_id": str(request.requested_by) if request.requested_by else None,
    }


def _retry_delay(attempts: int) -> timedelta:
    longest = min(FIRST_RETRY * 2 ** min(attempts - 1, 20), MAX_RETRY if attempts < MANY_ATTEMPTS else RETRY_OF_MANY)
    return timedelta(seconds=longest.total_seconds() * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
