"""The checks of Redis: that it takes writes, and neither forgets nor evicts messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis
from redis.exceptions import RedisError

from receiver.doctor.diagnosis import Diagnosis, attempt, from_check, not_checked
from runtime.checks import REDIS_ADVICE, redis_probe
from runtime.errors import cause

#: The oldest version of Redis that the service supports.
MIN_REDIS = (6, 2)

#: The only policy under which Redis keeps every message when its memory is full.
NO_EVICTION = "noeviction"

_OF_SERVER = ("redis version", "redis persistence", "redis memory")


def look_at_redis(client: redis.Redis) -> Iterator[Diagnosis]:
    """Check that Redis works, and how it keeps what it is given."""
    probe = redis_probe(client, required=True)
    found = attempt("redis", lambda: (from_check(name, check) for name, check in probe.look().items()), REDIS_ADVICE)
    yield from found
    if any(diagnosis.state == "failed" for diagnosis in found):
        yield from not_checked(_OF_SERVER, "Redis does not take writes")
        return
    try:
        info: dict[str, Any] = client.info()
    except RedisError as error:  # a hosted Redis may not allow the command
        yield from not_checked(_OF_SERVER, f"INFO is refused: {cause(error)}")
        return
    yield _look_at_version(info)
    yield _look_at_persistence(client, info)
    yield _look_at_memory(info)


def _look_at_version(info: dict[str, Any]) -> Diagnosis:
    version = str(info.get("redis_version", "unknown"))
    shown = f"Valkey {info['valkey_version']}, as Redis {version}" if "valkey_version" in info else version
    parts = version.split(".")[:2]
    if not all(part.isdecimal() for part in parts):
        return Diagnosis("redis version", "not checked", f"{shown} is not a version")
    if tuple(map(int, parts)) < MIN_REDIS:
        needed = ".".join(map(str, MIN_REDIS))
        return Diagnosis("redis version", "failed", shown, f"upgrade Redis to {needed} or later")
    return Diagnosis("redis version", "ok", shown)


def _look_at_persistence(client: redis.Redis, info: dict[str, Any]) -> Diagnosis:
    """Check that messages survive a restart. Without them nothing is lost, but the sweep has to send them again."""
    name = "redis persistence"
    if info.get("aof_enabled"):
        return Diagnosis(name, "ok", "appendonly is yes")
    try:
        saves = str(client.config_get("save").get("save", ""))
    except RedisError as error:
        return Diagnosis(name, "not checked", f"appendonly is no, and CONFIG GET save is refused: {cause(error)}")
    if saves:
        return Diagnosis(name, "ok", f"appendonly is no, save is {saves}")
    advice = "set appendonly to yes: after a restart of Redis, work waits for the sweep"
    return Diagnosis(name, "warning", "appendonly is no, and save is empty", advice)


def _look_at_memory(info: dict[str, Any]) -> Diagnosis:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == NO_EVICTION:
        return Diagnosis("redis memory", "ok", f"maxmemory-policy is {policy}")
    limit = "no maxmemory is set" if not info.get("maxmemory") else f"maxmemory is {info['maxmemory']:,} bytes"
    advice = f"set maxmemory-policy to {NO_EVICTION}: when its memory is full, Redis drops messages and rate limits"
    return Diagnosis("redis memory", "warning", f"maxmemory-policy is {policy}, {limit}", advice)
