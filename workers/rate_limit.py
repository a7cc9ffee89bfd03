"""The API budget: every call of every process passes here, is held back, counted, or refused.

A tenant's pace is a sliding window in Redis, shared by all processes. Work that nobody waits
for (backfill, reconcile) may take half of it, the reads that keep the state fresh three
quarters, and looks into status logs a tenth, so that none starves the others.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

import redis
from dramatiq.rate_limits import WindowRateLimiter
from dramatiq.rate_limits.backends import RedisBackend
from redis.exceptions import RedisError
from sqlalchemy import Engine

from ampeco.tenants import Tenant
from storage.clock import clock
from storage.usage import CallReason, Calls, add
from workers.metrics import API_CALLS, API_CALLS_SAVED
from workers.pause import pause_reason, paused_for

#: Seconds over which the pace holds: short enough that calls are spread over the minute,
#: long enough that a small burst does not wait.
WINDOW_SECONDS = 10

#: How often a call that waits for its turn looks again.
POLL_SECONDS = 0.25

#: A worker that would wait longer than this for its turn has other tenants to serve.
MAX_WAIT_SECONDS = 2.0

#: The share of the pace that some reasons have at most, those of one name together.
SHARES: dict[CallReason, tuple[str, float]] = {
    "backfill": ("background", 0.5),
    "reconcile": ("background", 0.5),
    "refresh": ("refresh", 0.75),
    "status_log": ("status log", 0.1),
}


class CallDeferredError(Exception):
    """A call was not made, because the tenant is paused or its pace is used up.

    ``seconds`` says for how long at least, ``why`` what to tell the operator. ``is_final``
    where waiting does not help: a person has to change something.
    """

    def __init__(self, seconds: float, why: str, *, is_final: bool = False) -> None:
        self.seconds = seconds
        self.why = why
        self.is_final = is_final
        super().__init__(f"held back for {seconds:.0f} s: {why}")


@dataclass(slots=True)
class Usage:
    """Counts calls in this process until they are written to the database."""

    _counted: dict[tuple[str, CallReason], Calls] = field(default_factory=lambda: defaultdict(Calls))
    _lock: Lock = field(default_factory=Lock)

    def made(self, tenant: str, reason: CallReason) -> None:
        API_CALLS.labels(tenant, reason).inc()
        with self._lock:
            self._counted[tenant, reason].made += 1

    def saved(self, tenant: str, reason: CallReason, calls: int) -> None:
        if calls > 0:
            API_CALLS_SAVED.labels(tenant, reason).inc(calls)
            with self._lock:
                self._counted[tenant, reason].saved += calls

    def write(self, engine: Engine) -> None:
        """Add what was counted to the database; where that fails, it is kept for the next time."""
        with self._lock:
            counted, self._counted = self._counted, defaultdict(Calls)
        if not counted:
            return
        try:
            with engine.begin() as connection:
                add(connection, counted)
        except BaseException:
            with self._lock:
                for key, calls in counted.items():
                    self._counted[key].made += calls.made
                    self._counted[key].saved += calls.saved
            raise


class RateLimiter:
    """Lets the calls of one tenant for one reason through, at the tenant's pace.

    Parameters:
        client: Redis. Where it does not answer, calls go through at the tenant's pace for
            this process alone.
        max_wait_seconds: how long a call may wait for its turn.
    """

    def __init__(
        self,
        client: redis.Redis,
        usage: Usage,
        tenant: Tenant,
        reason: CallReason,
        *,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._redis = client
        self._usage = usage
        self._tenant = tenant
        self._reason = reason
        self._max_wait = max_wait_seconds
        self._sleep = sleep
        backend = RedisBackend(client=client)
        key = f"ampeco-receiver:pace:{tenant.name}"
        calls = max(round(tenant.calls_per_minute * WINDOW_SECONDS / 60), 1)
        self._limiters = [_limiter(backend, key, calls)]
        if reason in SHARES:
            # First: what the smaller share refuses must not count against the whole.
            name, share = SHARES[reason]
            self._limiters.insert(0, _limiter(backend, f"{key}:{name}", max(int(calls * share), 1)))

    def __call__(self) -> None:
        """Return when the call may go out.

        Raises:
            CallDeferredError: not within the longest wait.
        """
        waited = 0.0
        while (held := self._held()) is not None:
            seconds, why = held
            if waited + seconds > self._max_wait:
                raise CallDeferredError(seconds, why)
            self._sleep(seconds)
            waited += seconds
        self._usage.made(self._tenant.name, self._reason)

    def _held(self) -> tuple[float, str] | None:
        """For how long the call is held back, and why; None where it may go out."""
        try:
            if left := paused_for(self._redis, self._tenant.name):
                return left, pause_reason(self._redis, self._tenant.name) or "the tenant is paused"
            for limiter in self._limiters:
                with limiter.acquire(raise_on_failure=False) as granted:
                    if not granted:
                        return POLL_SECONDS, f"{self._tenant.calls_per_minute} calls a minute are used up"
        except RedisError:
            self._sleep(60 / self._tenant.calls_per_minute)
        return None


class _Window(WindowRateLimiter):
    """A sliding window by Postgres's clock, so that processes on machines whose clocks differ share it."""

    def _get_keys(self) -> list[str]:
        second = clock.now_ns() // 1_000_000_000
        return [f"{self.key}@{second - past}" for past in range(self.window)]


def _limiter(backend: RedisBackend, key: str, calls: int) -> WindowRateLimiter:
    return _Window(backend, key, limit=calls, window=WINDOW_SECONDS)  # type: ignore[no-untyped-call] # as of Dramatiq 2.2
