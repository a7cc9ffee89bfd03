"""The rate limit: every call of every process is counted here, and waits or is deferred if necessary.

A tenant's rate limit is a sliding window in Redis, shared by all processes. Each reason has a call quota, so that none
starves the others: backfill and reconcile, which are not urgent, may use half of the rate limit, the reads that keep
the state fresh three quarters, reads of status logs a twentieth, and reads of the consumption of sessions a tenth.
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
from storage.sync.api_usage import CallReason, Calls, add
from workers.api import daily_quota
from workers.api.pause import LOW_SECONDS, is_low, pause_reason, paused_for
from workers.metrics import API_CALLS, API_CALLS_SAVED

#: Length of the window: short enough that calls are spread over the minute, long enough that a small burst does not
#: wait.
WINDOW_SECONDS = 10

#: How often a waiting call tries again.
POLL_SECONDS = 0.25

#: How long a call of a worker may wait: the worker has other tenants to serve.
MAX_WAIT_SECONDS = 2.0

#: The call quotas: the name and the largest share of the rate limit. Reasons of one name share it.
SHARES: dict[CallReason, tuple[str, float]] = {
    "backfill": ("background", 0.5),
    "reconcile": ("background", 0.5),
    "refresh": ("refresh", 0.75),
    "status_log": ("status log", 0.05),
    "consumption": ("consumption", 0.1),
}

#: The reasons whose calls wait if few calls are left of the tenant's own limit.
BACKGROUND: frozenset[CallReason] = frozenset({"backfill", "reconcile", "consumption"})


class CallDeferredError(Exception):
    """A call was deferred, because the tenant is paused or its rate limit is used up.

    Attributes:
        seconds: how long to wait at least.
        why: the reason, for the operator.
        is_final: whether waiting does not help, because a person has to change something.
    """

    def __init__(self, seconds: float, why: str, *, is_final: bool = False) -> None:
        self.seconds = seconds
        self.why = why
        self.is_final = is_final
        super().__init__(f"call deferred for {seconds:.0f} s: {why}")


@dataclass(slots=True)
class Usage:
    """The calls of this process that are not yet written to the database."""

    _counted: dict[tuple[str, CallReason], Calls] = field(default_factory=lambda: defaultdict(Calls))
    _lock: Lock = field(default_factory=Lock)

    def made(self, tenant: str, reason: CallReason) -> None:
        """Count a call."""
        API_CALLS.labels(tenant, reason).inc()
        with self._lock:
            self._counted[tenant, reason].made += 1

    def saved(self, tenant: str, reason: CallReason, calls: int) -> None:
        """Count calls that were not necessary."""
        if calls > 0:
            API_CALLS_SAVED.labels(tenant, reason).inc(calls)
            with self._lock:
                self._counted[tenant, reason].saved += calls

    def write(self, engine: Engine) -> None:
        """Add the counts to the database; if that fails, they are kept for the next time."""
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
    """Limits the calls of one tenant for one reason to the tenant's rate limit.

    Parameters:
        client: Redis. If it does not answer, each thread spaces its own calls at the tenant's rate limit.
        max_wait_seconds: how long a call may wait.
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
            # The quota is checked first: a call that it defers must not count against the rate limit.
            name, share = SHARES[reason]
            self._limiters.insert(0, _limiter(backend, f"{key}:{name}", max(int(calls * share), 1)))

    def __call__(self) -> None:
        """Wait until the call may be made, and count it.

        Raises:
            CallDeferredError: the call may not be made within the longest wait, or not today.
        """
        waited = 0.0
        while (delay := self._delay()) is not None:
            seconds, why = delay
            if waited + seconds > self._max_wait:
                raise CallDeferredError(seconds, why)
            self._sleep(seconds)
            waited += seconds
        self._usage.made(self._tenant.name, self._reason)

    def _delay(self) -> tuple[float, str] | None:
        """Return how long the call has to wait, seconds, and why; None if it may be made now."""
        try:
            if left := paused_for(self._redis, self._tenant.name):
                return left, pause_reason(self._redis, self._tenant.name) or "the tenant is paused"
            if seconds := daily_quota.delay(self._redis, self._tenant.name, self._reason, self._tenant.calls_per_day):
                raise CallDeferredError(seconds, self._quota_is_used_up(), is_final=True)
            if self._reason in BACKGROUND and is_low(self._redis, self._tenant.name):
                return float(LOW_SECONDS), "few calls are left of the tenant's own limit"
            for limiter in self._limiters:
                with limiter.acquire(raise_on_failure=False) as granted:
                    if not granted:
                        return POLL_SECONDS, f"{self._tenant.calls_per_minute} calls a minute are used up"
        except RedisError:
            self._sleep(60 / self._tenant.calls_per_minute)
        return None

    def _quota_is_used_up(self) -> str:
        share = daily_quota.SHARES[self._reason]
        of = "" if share == 1 else f" {share:.0%} of"
        return f"{of} the {self._tenant.calls_per_day:,} calls of this day are used up".strip()


class _Window(WindowRateLimiter):
    """A sliding window by Postgres's clock, so that machines whose clocks differ can share it."""

    def _get_keys(self) -> list[str]:
        second = clock.now_ns() // 1_000_000_000
        return [f"{self.key}@{second - past}" for past in range(self.window)]


def _limiter(backend: RedisBackend, key: str, calls: int) -> WindowRateLimiter:
    return _Window(backend, key, limit=calls, window=WINDOW_SECONDS)  # type: ignore[no-untyped-call] # as of Dramatiq 2.2
