"""The context that the actors of one process share; it is created once, after any fork."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Protocol
from uuid import UUID

import redis
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ampeco.api.answer_headers import AnswerHeaders
from ampeco.api.client import Client
from ampeco.api.offered import OfferedPaths
from ampeco.api.transport import AfterCall
from ampeco.tenants import Tenant
from runtime.heartbeat import Heartbeat
from runtime.settings import Settings
from storage.clock import clock
from storage.database import create_database_engine
from storage.sync.api_usage import CallReason
from workers.api.api_notices import ApiNotices
from workers.api.rate_limit import MAX_WAIT_SECONDS, RateLimiter, Usage
from workers.broker import create_redis
from workers.metrics import observe_call

#: Attempts of one read within a call. If all of them fail, the queue retries the read later.
MAX_ATTEMPTS = 2


@dataclass(slots=True)
class CountedClient:
    """A client for one piece of work, and the number of calls that it made."""

    client: Client
    calls: int = 0


class MakeClient(Protocol):
    """Makes a client of a tenant, with what its context passes to :class:`ampeco.api.client.Client`."""

    def __call__(
        self,
        tenant: Tenant,
        *,
        before_call: Callable[[], None],
        on_answer: Callable[[AnswerHeaders], None],
        after_call: AfterCall,
        offered: OfferedPaths,
    ) -> Client:
        """Return a new client."""
        ...


@dataclass(slots=True)
class Context:
    """Engine, Redis client and API clients of a process.

    While the context is entered, the process is registered and its heartbeat runs.

    Attributes:
        max_slots: how many threads may read for one tenant at a time.
        max_wait_seconds: how long a call of the API may wait for the rate limit.
        apply_again: the batch of a wake-up after which not everything could be applied, until the next wake-up is sent.
    """

    engine: Engine
    heartbeat: Heartbeat
    redis: redis.Redis
    tenants: dict[str, Tenant]
    make_client: MakeClient
    max_slots: int
    max_wait_seconds: float = MAX_WAIT_SECONDS
    usage: Usage = field(default_factory=Usage)
    notices: ApiNotices = field(default_factory=ApiNotices)
    apply_again: deque[UUID] = field(default_factory=lambda: deque(maxlen=1))
    _clients: dict[tuple[str, CallReason], Client] = field(default_factory=dict)
    _offered: defaultdict[str, OfferedPaths] = field(default_factory=lambda: defaultdict(OfferedPaths))
    _slots: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    @property
    def process_id(self) -> UUID:
        """The id of this process in the leases that it has."""
        return self.heartbeat.process_id

    def client(self, tenant: str, reason: CallReason) -> Client:
        """Return the API client of a tenant whose calls count as made for ``reason``; all threads share it.

        Its calls raise a :class:`workers.api.rate_limit.CallDeferredError` if they are deferred.

        Raises:
            KeyError: the tenant is no longer configured.
        """
        with self._lock:
            if (tenant, reason) not in self._clients:
                self._clients[tenant, reason] = self._make_client(tenant, self._rate_limiter(tenant, reason))
            return self._clients[tenant, reason]

    def counted_client(self, tenant: str, reason: CallReason) -> CountedClient:
        """Return a client that counts its calls and is not shared, so the caller has to close it."""
        rate_limiter = self._rate_limiter(tenant, reason)

        def count() -> None:
            rate_limiter()
            counted.calls += 1

        counted = CountedClient(self._make_client(tenant, count))
        return counted

    def _make_client(self, tenant: str, before_call: Callable[[], None]) -> Client:
        return self.make_client(
            self.tenants[tenant],
            before_call=before_call,
            on_answer=partial(self.notices.see, self.redis, tenant),
            after_call=partial(observe_call, tenant),
            offered=self._offered[tenant],
        )

    def write_usage(self) -> None:
        """Write the counted calls and what AMPECO's answers said."""
        self.usage.write(self.engine)
        self.notices.write(self.engine)

    def _rate_limiter(self, tenant: str, reason: CallReason) -> RateLimiter:
        return RateLimiter(self.redis, self.usage, self.tenants[tenant], reason, max_wait_seconds=self.max_wait_seconds)

    def clock_offsets(self) -> dict[str, timedelta]:
        """Return how far each tenant's clock is ahead of ours, for the tenants that have answered a call."""
        with self._lock:
            clients = list(self._clients.items())
        offsets = ((tenant, client.clock_offset) for (tenant, _), client in clients)
        return {tenant: offset for tenant, offset in offsets if offset is not None}

    @contextlib.contextmanager
    def concurrency_slot(self, tenant: str) -> Iterator[bool]:
        """Take a slot to read for a tenant; yield False if all of them are taken.

        Without this limit, a tenant that hangs would occupy every thread until its calls time out.
        """
        with self._lock:
            granted = self._slots[tenant] < self.max_slots
            self._slots[tenant] += granted
        try:
            yield granted
        finally:
            with self._lock:
                self._slots[tenant] -= granted

    def __enter__(self) -> Context:
        self.heartbeat.beat()  # at once: claims before it would belong to no registered process
        self.heartbeat.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.close()
        with contextlib.suppress(SQLAlchemyError):  # the last counts are not worth a failed stop
            self.write_usage()
        self.heartbeat.stop()
        self.redis.close()
        self.engine.dispose()


def create_context(settings: Settings, *, process: str, max_wait_seconds: float = MAX_WAIT_SECONDS) -> Context:
    """Create the context of a process from the settings.

    Parameters:
        process: its name in ``pg_stat_activity`` and ``ingest.process``.
        max_wait_seconds: how long a call of the API may wait for the rate limit.
    """
    timeout = settings.api_timeout.total_seconds()
    return Context(
        engine=create_database_engine(
            settings.required_database_url(),
            application_name=f"ampeco-receiver {process}",
            # A worker has at most as many threads as these two, whichever queues it serves. Its scheduled jobs share
            # one connection more.
            pool_size=settings.apply_threads + settings.refresh_threads + 1,
        ),
        heartbeat=Heartbeat(settings.required_database_url(), process),
        redis=create_redis(settings.required_redis_url()),
        tenants=settings.tenants,
        make_client=lambda tenant, **shared: Client(
            tenant.url,
            tenant.api_token(),
            timeout_seconds=timeout,
            max_attempts=MAX_ATTEMPTS,
            now=clock.now,
            **shared,
        ),
        max_wait_seconds=max_wait_seconds,
        # A single tenant may use every thread; each of several tenants at most half of them.
        max_slots=settings.refresh_threads if len(settings.tenants) == 1 else max(settings.refresh_threads // 2, 1),
    )
