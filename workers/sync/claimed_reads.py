"""The refresh requests that a round has claimed: resolve, retry and postpone them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

from pydantic import ValidationError
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from runtime.errors import describe
from runtime.logging import get_logger
from storage.clock import clock
from storage.errors import is_unrelated_to_values
from storage.inbox.batches import record_failure
from storage.state.changes import Entity
from storage.sync import refresh_queue
from storage.sync.refresh_queue import RefreshRequest
from workers.api.context import Context
from workers.metrics import API_READS, read_result

logger = get_logger(__name__)

#: Delays after a round failed on our side: because of Postgres, which has most often recovered by then, or for any
#: other reason; the longer delay keeps the round from using up the tenant's calls.
PASSING_DELAY = timedelta(seconds=1)
FAULT_DELAY = timedelta(seconds=30)

#: How long to wait for Postgres to come back, in order to give back what was claimed.
MAX_RELEASE_SECONDS = 60.0

#: A read that did not resolve its request is retried after about 5 s, 10 s, … up to an hour.
FIRST_RETRY = timedelta(seconds=5)
MAX_RETRY = timedelta(hours=1)

#: A lookup that finds nothing is retried after about 2 min, 16 min, 2 h, 6 h, 6 h, …: sync runs list the same entities
#: in the meantime, and resolve the request once they show one.
FIRST_LOOKUP_RETRY = timedelta(minutes=2)
LOOKUP_GROWTH = 8
MAX_LOOKUP_RETRY = timedelta(hours=6)

#: An entity that no listing has shown by this time is not looked up any more; its notification failed.
LOOKUP_PATIENCE = timedelta(days=1)

#: If so many reads, over some two days, did not resolve a request, a person has to act or it can never be resolved.
#: From then on it is retried once a day, so that it does not use up the tenant's call quota forever.
MANY_ATTEMPTS = 60
RETRY_OF_MANY = timedelta(days=1)


class ClaimedReads:
    """The claimed refresh requests of one kind of one tenant.

    Attributes:
        open: those that are neither resolved nor postponed, by their keys, most urgent first.
        resolved: number of entities whose requests were resolved.
        requests: number of requests that these entities had.
        were_left: whether requests were postponed because of the tenant or the time budget.
    """

    def __init__(self, context: Context, tenant: str, requests: Sequence[RefreshRequest]) -> None:
        self.context = context
        self.tenant = tenant
        self.kind = requests[0].kind
        self.open = {request.key: request for request in requests}
        self.resolved = 0
        self.requests = 0
        self.were_left = False

    def holds(self, entity: Entity) -> bool:
        """Return whether a read of an entity is claimed and still open."""
        return entity.kind == self.kind and (entity.entity_id, "") in self.open

    def note_resolved(self, requests: Sequence[RefreshRequest]) -> None:
        """Count requests as resolved; call it after the commit."""
        for request in requests:
            del self.open[request.key]
            self.resolved += 1
            self.requests += request.generation
            logger.debug("refresh request resolved", **request_labels(request), reason=request.reason)

    def drop(self) -> None:
        """Remove all open requests, because the tenant does not have their kind mirrored."""
        requests = list(self.open.values())
        with self.context.engine.begin() as connection:
            refresh_queue.finish(connection, self.tenant, requests)
        self.note_resolved(requests)

    def fail(self, request: RefreshRequest, error: Exception) -> None:
        """Log a read that failed by itself, and retry it later."""
        described = describe(error) if isinstance(error, DBAPIError | ValidationError) else str(error)
        logger.warning("read failed", **request_labels(request), error=described)
        API_READS.labels(self.tenant, read_result(error)).inc()
        self.retry(request, described)

    def retry(self, request: RefreshRequest, why: str) -> None:
        """Postpone a read by a delay that grows with its attempts."""
        self.postpone([request], _retry_delay(request.attempts), why, counts=True)

    def retry_lookup(self, request: RefreshRequest) -> None:
        """Postpone a lookup that found nothing or, after ``LOOKUP_PATIENCE``, give it up.

        Its notification then counts as failed, so that ``status`` shows it, and ``replay --failed`` looks again.
        """
        why = "no listing shows it yet"
        if clock.now() - request.requested_at < LOOKUP_PATIENCE:
            self.postpone([request], _lookup_delay(request.attempts), why, counts=True)
            return
        logger.warning("lookup given up", **request_labels(request), reference=request.reference)
        API_READS.labels(self.tenant, "given_up").inc()
        with self.context.engine.begin() as connection:
            refresh_queue.finish(connection, self.tenant, [request])
            if request.requested_by is not None:
                error = f"{request.kind} {request.reference} is in no listing of AMPECO's, a day after its notification"
                record_failure(connection, self.tenant, request.requested_by, reason="not listed", error=error)
        del self.open[request.key]

    def leave(self, delay: timedelta, error: str | None, *, counts: bool) -> None:
        """Postpone all open requests, because of the tenant or the time budget."""
        if self.open:
            self.were_left = True
            self.postpone(list(self.open.values()), delay, error, counts=counts)

    def leave_kind(self) -> None:
        """Postpone all open requests, because the kind is forbidden; ``status`` shows that, other kinds are read."""
        if self.open:
            self.postpone(list(self.open.values()), timedelta(0), None, counts=False)

    def postpone(
        self, requests: Sequence[RefreshRequest], delay: timedelta, error: str | None, *, counts: bool
    ) -> None:
        """Postpone requests; the parameters are those of :func:`storage.sync.refresh_queue.postpone`."""
        with self.context.engine.begin() as connection:
            refresh_queue.postpone(connection, self.tenant, requests, delay=delay, error=error, counts=counts)
        for request in requests:
            del self.open[request.key]


def release_claimed(context: Context, tenant: str, requests: Sequence[RefreshRequest], error: BaseException) -> None:
    """Free the requests that a failed round still has claimed; if Postgres stays down, their leases run out.

    Requests that the round resolved or postponed are no longer claimed, and stay as they are.
    """
    passing = isinstance(error, RedisError | SQLAlchemyError | OSError) and is_unrelated_to_values(error)

    def attempt() -> None:
        with context.engine.begin() as connection:
            delay = PASSING_DELAY if passing else FAULT_DELAY
            refresh_queue.postpone(connection, tenant, requests, delay=delay, error=None, counts=not passing)

    # Wait for Postgres if it is restarting after a crash: this thread has nothing else to do.
    patient = Retrying(
        retry=retry_if_exception_type(SQLAlchemyError),
        wait=wait_random_exponential(multiplier=0.1, max=1),
        stop=stop_after_delay(MAX_RELEASE_SECONDS),
        reraise=True,
    )
    try:
        patient(attempt)
    except SQLAlchemyError as failure:
        logger.warning("reads stay leased", tenant=tenant, reads=len(requests), error=describe(failure))


def request_labels(request: RefreshRequest) -> dict[str, object]:
    """Return the fields that identify a request in log lines."""
    return {
        "tenant": request.tenant,
        "kind": request.kind,
        "entity_id": request.entity_id,
        "request_id": str(request.requested_by) if request.requested_by else None,
    }


def _lookup_delay(attempts: int) -> timedelta:
    longest = min(FIRST_LOOKUP_RETRY * LOOKUP_GROWTH ** min(attempts - 1, 5), MAX_LOOKUP_RETRY)
    return timedelta(seconds=longest.total_seconds() * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret


def _retry_delay(attempts: int) -> timedelta:
    longest = min(FIRST_RETRY * 2 ** min(attempts - 1, 20), MAX_RETRY if attempts < MANY_ATTEMPTS else RETRY_OF_MANY)
    return timedelta(seconds=longest.total_seconds() * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
