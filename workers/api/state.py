"""What the processes share in Redis about the API of tenants: the calls of today and the pauses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import redis

from workers.api.daily_quota import calls_today
from workers.api.pause import pause_reason, paused_for


@dataclass(frozen=True, slots=True)
class ApiState:
    """The state of the API of some tenants, by tenant.

    Attributes:
        calls_today: the calls of today that count towards the daily quota: those that succeeded.
        pauses: the seconds that are left of a pause, and its reason; a tenant that is not paused is missing.
    """

    calls_today: Mapping[str, int] = field(default_factory=dict)
    pauses: Mapping[str, tuple[float, str]] = field(default_factory=dict)


def read_api_state(client: redis.Redis, tenants: Iterable[str]) -> ApiState:
    """Return the state of the API of tenants.

    Raises:
        RedisError: Redis does not answer.
    """
    names = list(tenants)
    return ApiState(
        {name: calls_today(client, name) for name in names},
        {name: (left, pause_reason(client, name) or "") for name in names if (left := paused_for(client, name))},
    )
