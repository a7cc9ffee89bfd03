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

#: So many of the last calls, successes and failures, tell a tenant that is down from one that fails now
#: and then; seconds after which calls are no longer recent.
RECENT_CALLS = 10
RECENT_SECONDS = 300

#: After a failure among successes the tenant is left alone for this long: a moment, out of politeness.
PASSING_PAUSE_SECONDS = 1.0

#: How often a tenant that was down failed is forgotten after this long without a failure.
FAILURES_FORGOTTEN_SECONDS = 1_800

_SUCCESS = b"succeeded"

#: A shorter pause never takes the place of a longer one: what one process was asked for holds,
#: whatever another meets meanwhile. KEYS: the pause. ARGV: milliseconds, why.
_EXTEND = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
end
"""


def _key(tenant: str) -> str:
    return f"ampeco-receiver:pause:{tenant}"


def _failures_key(tenant: str) -> str:
    return f"ampeco-receiver:failures:{tenant}"


def _recent_key(tenant: str) -> str:
    return f"ampeco-receiver:recent:{tenant}"


def pause(client: redis.Redis, tenant: str, seconds: float, reason: str) -> float:
    """Hold back the calls of a tenant for at least so long.

    Returns:
        For how many seconds; a pause that lasts longer already stays as it is.
    """
    granted = max(seconds, 1.0)
    with _unless_redis_fails(tenant):
        client.eval(_EXTEND, 1, _key(tenant), math.ceil(granted * 1000), reason)
    return granted


def fail(
    client: redis.Redis,
    tenant: str,
    first_seconds: float,
    max_seconds: float,
    reason: str,
    *,
    only_path: str | None = None,
) -> float:
    """Hold back the calls of a tenant that gave no usable answer.

    Where most of its recent calls failed: twice as long with each failure since the last success, up
    to the longest. Where most succeeded, as with an API that fails at random, or where nothing failed but
    one path that may fail by itself: for a moment.

    Parameters:
        only_path: what was asked for, where the failure may be about that alone.

    Returns:
        For how many seconds.
    """
    failures = 1
    with _unless_redis_fails(tenant):
        recent = _note(client, tenant, f"failed {only_path or ''}".encode())
        failed = [one for one in recent if one != _SUCCESS]
        is_one_path = only_path is not None and len(set(failed)) == 1
        if is_one_path or 2 * len(failed) <= len(recent):
            return pause(client, tenant, PASSING_PAUSE_SECONDS, reason)
        failures = int(client.incr(_failures_key(tenant)))
        client.expire(_failures_key(tenant), FAILURES_FORGOTTEN_SECONDS)
    return pause(client, tenant, min(first_seconds * 2 ** min(failures - 1, 20), max_seconds), reason)


def recovered(client: redis.Redis, tenant: str) -> None:
    """Note a call that the tenant answered: the next pause is a short one again."""
    with _unless_redis_fails(tenant):
        _note(client, tenant, _SUCCESS)
        client.delete(_failures_key(tenant))


def _note(client: redis.Redis, tenant: str, outcome: bytes) -> list[bytes]:
    """Note how a call ended; returns the recent ones, this one included."""
    key = _recent_key(tenant)
    with client.pipeline() as pipeline:
        pipeline.lpush(key, outcome)
        pipeline.ltrim(key, 0, RECENT_CALLS - 1)
        pipeline.expire(key, RECENT_SECONDS)
        pipeline.lrange(key, 0, -1)
        recent: list[bytes] = pipeline.execute()[-1]
    return recent


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
