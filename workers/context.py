"""What the actors of one process share: made once, after any fork."""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from types import TracebackType
from uuid import UUID

import redis
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ampeco.client import Client
from ampeco.tenants import Tenant
from storage.clock import clock
from storage.database import create_database_engine
from storage.usage import CallReason
from workers.broker import create_redis
from workers.heartbeat import Heartbeat
from workers.rate_limit import MAX_WAIT_SECONDS, RateLimiter, Usage
from workers.settings import Settings

#: Tries of one read within a call; what still fails then is left for later by the queue.
MAX_ATTEMPTS = 2


@dataclass(slots=True)
class CountedClient:
    """A client of one piece of work, and how many calls it made."""

    client: Client
    calls: int = 0


@dataclass(slots=True)
class Context:
    """Engine, Redis and API clients of a process; ``max_slots`` threads may read for one tenant.

    The process is registered and its heartbeat beats while the context is entered.
    ``apply_again`` holds what woke a worker that could not apply all, until another is woken.
    """

    engine: Engine
    heartbeat: Heartbeat
    redis: redis.Redis
    tenants: dict[str, Tenant]
    make_client: Callable[[Tenant, Callable[[], None]], Client]
    max_slots: int
    max_wait_seconds: float = MAX_WAIT_SECONDS
    usage: Usage = field(default_factory=Usage)
    apply_again: deque[UUID] = field(default_factory=lambda: deque(maxlen=1))
    _clients: dict[tuple[str, CallReason], Client] = field(default_factory=dict)
    _slots: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    @property
    def process_id(self) -> UUID:
        """How this process is named in what it holds."""
        return self.heartbeat.process_id

    def client(self, tenant: str, reason: CallReason) -> Client:
        """The API client of a tenant, whose calls count as made for ``reason``; all threads share it.

        Its calls raise a :class:`workers.rate_limit.CallDeferredError` while they may not be made.

        Raises:
            KeyError: the tenant is no longer configured.
        """
        with self._lock:
            if (tenant, reason) not in self._clients:
                self._clients[tenant, reason] = self.make_client(
                    self.tenants[tenant], self._rate_limiter(tenant, reason)
                )
            return self._clients[tenant, reason]

    def counted_client(self, tenant: str, reason: CallReason) -> CountedClient:
        """A client of the caller's own, which closes it; else as ``client``."""
        rate_limiter = self._rate_limiter(tenant, reason)

        def count() -> None:
            rate_limiter()
            counted.calls += 1

        counted = CountedClient(self.make_client(self.tenants[tenant], count))
        return counted

    def _rate_limiter(self, tenant: str, reason: CallReason) -> RateLimiter:
        return RateLimiter(self.redis, self.usage, self.tenants[tenant], reason, max_wait_seconds=self.max_wait_seconds)

    def clock_offsets(self) -> dict[str, timedelta]:
        """How far each tenant's clock is ahead of ours, as far as its answers told."""
        with self._lock:
            clients = list(self._clients.items())
        offsets = ((tenant, client.clock_offset) for (tenant, _), client in clients)
        return {tenant: offset for tenant, offset in offsets if offset is not None}

    @contextlib.contextmanager
    def concurrency_slot(self, tenant: str) -> Iterator[bool]:
        """Let a thread read for a tenant, unless enough threads do already.

        A tenant that hangs would else hold every thread until its calls time out.
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
        self.heartbeat.beat()  # at once: what is claimed before would belong to no registered process
        self.heartbeat.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.close()
        with contextlib.suppress(SQLAlchemyError):  # a last look at the budget is not worth a failed stop
            self.usage.write(self.engine)
        self.heartbeat.stop()
        self.redis.close()
        self.engine.dispose()


def create_context(settings: Settings, *, process: str, max_wait_seconds: float = MAX_WAIT_SECONDS) -> Context:
    """Make the context of a process from the settings.

    Parameters:
        process: how it is named in ``pg_stat_activity`` and ``ingest.process``.
        max_wait_seconds: how long a call of the API may wait for its turn.
    """
    timeout = settings.api_timeout.total_seconds()
    return Context(
        engine=create_database_engine(
            settings.required_database_url(),
            application_name=f"ampeco-receiver {process}",
            # A connection for each thread, and one for the scheduled jobs.
            pool_size=settings.apply_threads + settings.refresh_threads + 1,
        ),
        heartbeat=Heartbeat(settings.required_database_url(), process),
        redis=create_redis(settings.required_redis_url()),
        tenants=settings.tenants,
        make_client=lambda tenant, rate_limiter: Client(
            tenant.url,
            tenant.api_token(),
            timeout_seconds=timeout,
            max_attempts=MAX_ATTEMPTS,
            before_call=rate_limiter,
            now=clock.now,
        ),
        max_wait_seconds=max_wait_seconds,
        # One tenant may have every thread; of several, each at most half of them.
        max_slots=settings.refresh_threads if len(settings.tenants) == 1 else max(settings.refresh_threads // 2, 1),
    )
