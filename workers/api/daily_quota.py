"""The daily quota: how many calls of a tenant's API all processes may make in a UTC day.

AMPECO allows a tenant 100,000 calls a day by default, and counts those that succeed. So do we, in Redis. The calls that
are not urgent stop first, so that the reads that keep the state fresh have the rest of the day. If Redis was emptied,
the count begins again, and AMPECO's own limit answers 429.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import redis
from redis.exceptions import RedisError

from storage.clock import clock
from storage.sync.api_usage import CallReason

#: The share of the quota after which calls for a reason wait for the next day. Calls for other reasons never wait: a
#: person or the subscription monitor makes them, and they are few.
SHARES: dict[CallReason, float] = {
    "backfill": 0.8,
    "reconcile": 0.8,
    "consumption": 0.8,
    "status_log": 0.9,
    "refresh": 1.0,
}

#: The longest time after which a deferred call tries again: the quota may be raised, or Redis emptied.
MAX_DELAY_SECONDS = 600.0

#: How long a count is kept after its last call: longer than the day that it counts.
_KEPT = timedelta(days=2)


def key(tenant: str) -> str:
    """Return the key of today's count in Redis."""
    return f"ampeco-receiver:calls:{tenant}:{clock.now():%Y-%m-%d}"


def count_call(client: redis.Redis, tenant: str) -> None:
    """Count a successful call of today."""
    try:
        with client.pipeline() as pipeline:
            pipeline.incr(key(tenant))
            pipeline.expire(key(tenant), _KEPT)
            pipeline.execute()
    except RedisError:
        return  # the rate limiter logs what it does without Redis


def calls_today(client: redis.Redis, tenant: str) -> int:
    """Return how many calls of today were counted.

    Raises:
        RedisError: Redis does not answer.
    """
    count = client.get(key(tenant))
    return int(count) if isinstance(count, bytes) else 0


def delay(client: redis.Redis, tenant: str, reason: CallReason, calls_per_day: int) -> float | None:
    """Return how long a call has to wait because of the daily quota, in seconds; None if it may be made.

    Raises:
        RedisError: Redis does not answer.
    """
    if reason not in SHARES or calls_today(client, tenant) < calls_per_day * SHARES[reason]:
        return None
    return min(_until_midnight(clock.now()), MAX_DELAY_SECONDS)


def _until_midnight(now: datetime) -> float:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return max((midnight - now).total_seconds(), 1.0)
