"""The pause of a tenant: if it answers 429 or is down, every process stops calling it for a while.

The pause is stored in Redis, so that all processes obey it at once, and expires by itself. If Redis was emptied or does
not store the pause, the cost is one more failing call, which sets it again; the work itself does not fail.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import redis
from redis.exceptions import RedisError

from runtime.errors import cause
from runtime.logging import get_logger

logger = get_logger(__name__)

#: The last calls, successes and failures, show whether a tenant is down or fails now and then: how many are kept, and
#: for how many seconds.
RECENT_CALLS = 10
RECENT_SECONDS = 300

#: Pause after a single failure among successes: a moment, to be polite.
PASSING_PAUSE_SECONDS = 1.0

#: The number of failures of a tenant that is down is dropped after this long without a failure.
FAILURES_FORGOTTEN_SECONDS = 1_800

#: If less than this share of the tenant's own limit is left, calls that are not urgent wait for so many seconds.
LOW_SHARE = 0.1
LOW_SECONDS = 5

_SUCCESS = b"succeeded"

_ACCEPTED, _REJECTED = b"accepted", b"rejected"

#: A shorter pause never replaces a longer one: if the tenant asked one process for a longer pause, it stays in force
#: whatever another process is answered. KEYS: the pause. ARGV: milliseconds, reason.
_EXTEND = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
end
"""


def _key(tenant: str) -> str:
    return f"ampeco-receiver:pause:{tenant}"


def _low_key(tenant: str) -> str:
    return f"ampeco-receiver:low:{tenant}"


def _failures_key(tenant: str) -> str:
    return f"ampeco-receiver:failures:{tenant}"


def _recent_key(tenant: str) -> str:
    return f"ampeco-receiver:recent:{tenant}"


def _token_key(tenant: str) -> str:
    return f"ampeco-receiver:token:{tenant}"


def pause(client: redis.Redis, tenant: str, seconds: float, reason: str) -> float:
    """Pause the calls of a tenant for at least so many seconds, and at least one.

    Returns:
        The seconds. A longer pause that exists already stays as it is.
    """
    seconds = max(seconds, 1.0)
    with _unless_redis_fails(tenant):
        client.eval(_EXTEND, 1, _key(tenant), math.ceil(seconds * 1000), reason)
    return seconds


def note_remaining(client: redis.Redis, tenant: str, limit: int, remaining: int) -> None:
    """Note how many calls a tenant still allows in its own window; other programs may use them up, too.

    If few are left, calls that are not urgent wait; if none is, all wait for a moment.
    """
    if remaining >= limit * LOW_SHARE:
        return
    with _unless_redis_fails(tenant):
        client.set(_low_key(tenant), remaining, ex=LOW_SECONDS)
    if remaining == 0:
        pause(client, tenant, LOW_SECONDS, f"the tenant's limit of {limit:,} calls is used up")


def is_low(client: redis.Redis, tenant: str) -> bool:
    """Return whether few calls are left in the tenant's own window.

    Raises:
        RedisError: Redis does not answer.
    """
    return bool(client.exists(_low_key(tenant)))


def fail(
    client: redis.Redis,
    tenant: str,
    first_seconds: float,
    max_seconds: float,
    reason: str,
    *,
    only_path: str | None = None,
) -> float:
    """Pause the calls of a tenant that gave no usable answer.

    If most of its recent calls failed, the pause doubles with each failure since the last success, up to the maximum.
    If most of them succeeded, as with an API that fails at random, or if only one path failed that may fail by itself,
    the pause is a moment.

    Parameters:
        first_seconds, max_seconds: the first pause and the longest, if most calls failed.
        only_path: the path of the call, if the failure may concern only that path.

    Returns:
        The seconds.
    """
    failures = 1
    with _unless_redis_fails(tenant):
        recent = _add_recent_call(client, tenant, f"failed {only_path or ''}".encode())
        failed = [result for result in recent if result != _SUCCESS]
        is_one_path = only_path is not None and len(set(failed)) == 1
        if is_one_path or 2 * len(failed) <= len(recent):
            return pause(client, tenant, PASSING_PAUSE_SECONDS, reason)
        failures = int(client.incr(_failures_key(tenant)))
        client.expire(_failures_key(tenant), FAILURES_FORGOTTEN_SECONDS)
    return pause(client, tenant, min(first_seconds * 2 ** min(failures - 1, 20), max_seconds), reason)


def recovered(client: redis.Redis, tenant: str) -> None:
    """Record a call that the tenant answered: the next pause is short again."""
    with _unless_redis_fails(tenant):
        _add_recent_call(client, tenant, _SUCCESS)
        client.delete(_failures_key(tenant))
        client.set(_token_key(tenant), _ACCEPTED)


def note_rejected_token(client: redis.Redis, tenant: str) -> None:
    """Record that a tenant rejected the token, until a call succeeds; the pause is over long before."""
    with _unless_redis_fails(tenant):
        client.set(_token_key(tenant), _REJECTED)


def is_token_accepted(client: redis.Redis, tenant: str) -> bool | None:
    """Return whether a tenant accepted the token of the last call; None if no call was recorded.

    Raises:
        RedisError: Redis does not answer.
    """
    state = client.get(_token_key(tenant))
    return None if state is None else state == _ACCEPTED


def _add_recent_call(client: redis.Redis, tenant: str, result: bytes) -> list[bytes]:
    """Record the result of a call; return the results of the recent calls, including this one."""
    key = _recent_key(tenant)
    with client.pipeline() as pipeline:
        pipeline.lpush(key, result)
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
    """Return for how many more seconds a tenant is paused; 0 if it is not."""
    left = int(client.pttl(_key(tenant)))
    return max(left, 0) / 1000


def pause_reason(client: redis.Redis, tenant: str) -> str | None:
    """Return why a tenant is paused; None if it is not."""
    reason = client.get(_key(tenant))
    return reason.decode() if isinstance(reason, bytes) else None
