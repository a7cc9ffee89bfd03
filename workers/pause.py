"""A tenant's pause: one answer of 429, or a tenant that is down, holds back every process.

It stands in Redis, so that all processes obey it at once, and runs out by itself. A
Redis that was emptied costs one more refused call, which sets it again, and so does one that
does not take the pause: the work that came upon it is not held up.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import redis
from redis.exceptions import RedisError

from workers.errors import cause
from workers.logs import get_logger

logger = get_logger(__name__)

#: A tenant that fails again and again is asked ever more rarely; what it failed is forgotten
#: after this long without a failure.
FAILURES_FORGOTTEN_MS = 1_800_000

#: A tenant that asks for a longer pause is asked again after this long.
LONGEST_PAUSE_SECONDS = 900.0


def _key(tenant: str) -> str:
    return f"ampeco-receiver:pause:{tenant}"


def pause(client: redis.Redis, tenant: str, seconds: float, reason: str) -> float:
    """Hold back the reads of a tenant; returns for how many seconds."""
    granted = min(max(seconds, 1.0), LONGEST_PAUSE_SECONDS)
    with _unless_redis_fails(tenant):
        client.set(_key(tenant), reason, px=math.ceil(granted * 1000))
    return granted


def fail(client: redis.Redis, tenant: str, first_seconds: float, longest_seconds: float, reason: str) -> float:
    """Hold back the reads of a tenant that gave no usable answer: twice as long each time, up to the longest.

    Returns:
        For how many seconds.
    """
    key = f"ampeco-receiver:failures:{tenant}"
    failures = 1
    with _unless_redis_fails(tenant):
        failures = int(client.incr(key))
        client.pexpire(key, FAILURES_FORGOTTEN_MS)
    return pause(client, tenant, min(first_seconds * 2 ** min(failures - 1, 20), longest_seconds), reason)


def recovered(client: redis.Redis, tenant: str) -> None:
    """Forget the failures of a tenant that answers again."""
    with _unless_redis_fails(tenant):
        client.delete(f"ampeco-receiver:failures:{tenant}")


@contextlib.contextmanager
def _unless_redis_fails(tenant: str) -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        logger.warning("pause not shared with the other processes", tenant=tenant, error=cause(error))


def paused_for(client: redis.Redis, tenant: str) -> float:
    """For how many more seconds a tenant is paused; 0 where it is not."""
    left = int(client.pttl(_key(tenant)))
    return max(left, 0) / 1000


def pause_reason(client: redis.Redis, tenant: str) -> str | None:
    """Why a tenant is paused, where it is."""
    reason = client.get(_key(tenant))
    return reason.decode() if isinstance(reason, bytes) else None
