"""What the actors of one process share: made once, after any fork."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType

import redis
from sqlalchemy import Engine

from ampeco.client import Client
from ampeco.tenants import Tenant
from storage.database import create_database_engine
from workers.broker import create_redis
from workers.settings import Settings

#: Tries of one read within a call; what still fails then is left for later by the queue.
MOST_ATTEMPTS = 2


@dataclass(slots=True)
class Context:
    """Engine, Redis and API clients of a work process; ``most_turns`` threads may read for one tenant."""

    engine: Engine
    redis: redis.Redis
    tenants: dict[str, Tenant]
    make_client: Callable[[Tenant], Client]
    most_turns: int
    _clients: dict[str, Client] = field(default_factory=dict)
    _turns: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    def client(self, tenant: str) -> Client:
        """The API client of a tenant; its connections are shared by all threads.

        Raises:
            KeyError: the tenant is no longer configured.
        """
        with self._lock:
            if tenant not in self._clients:
                self._clients[tenant] = self.make_client(self.tenants[tenant])
            return self._clients[tenant]

    @contextlib.contextmanager
    def turn(self, tenant: str) -> Iterator[bool]:
        """Let a thread read for a tenant, unless enough threads do already.

        A tenant that hangs would else hold every thread until its calls time out.
        """
        with self._lock:
            granted = self._turns[tenant] < self.most_turns
            self._turns[tenant] += granted
        try:
            yield granted
        finally:
            with self._lock:
                self._turns[tenant] -= granted

    def __enter__(self) -> Context:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.close()
        self.redis.close()
        self.engine.dispose()


def create_context(settings: Settings, *, process: str) -> Context:
    """Make the context of a process from the settings."""
    timeout = settings.api_timeout.total_seconds()
    return Context(
        engine=create_database_engine(
            settings.required_database_url(),
            application_name=f"ampeco-receiver {process}",
            # A connection for each thread, and one for the scheduled jobs.
            pool_size=settings.apply_threads + settings.refresh_threads + 1,
        ),
        redis=create_redis(settings.required_redis_url()),
        tenants=settings.tenants,
        make_client=lambda tenant: Client(
            tenant.url, tenant.api_token(), timeout_seconds=timeout, max_attempts=MOST_ATTEMPTS
        ),
        # One tenant may have every thread; of several, each at most half of them.
        most_turns=settings.refresh_threads if len(settings.tenants) == 1 else max(settings.refresh_threads // 2, 1),
    )
