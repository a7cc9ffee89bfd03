"""Clocks that differ from Postgres's: told once in the log, as a metric, and to ``status`` by way of Redis.

The service goes by Postgres's clock, so a wrong one of a machine breaks nothing here; but certificates, logs and
whatever else runs there depend on it. A tenant's clock decides which facts are newer.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta

import orjson
import redis
from redis.exceptions import RedisError

from storage.clock import clock
from workers.logs import get_logger
from workers.metrics import CLOCK_OFFSET

logger = get_logger(__name__)

#: A smaller difference is let pass: of a tenant's clock only whole seconds are known, and an answer takes its time.
TOLERANCE_SECONDS = 10.0

#: How often a process looks; ``status`` shows what was found in the last few looks.
LOOK_INTERVAL = timedelta(seconds=10)
SHOWN_MS = 60_000

_KEY = "ampeco-receiver:clock:"

#: What the clock of a machine is compared with, instead of a tenant.
POSTGRES = "postgres"


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """A clock that is wrong.

    Attributes:
        host: the machine that found it.
        against: ``postgres`` where the machine's own clock is wrong; else the tenant whose clock differs from
            Postgres's.
        offset_seconds: how far ours is ahead of theirs; negative where it is behind.
    """

    host: str
    against: str
    offset_seconds: float

    def __str__(self) -> str:
        ahead = "ahead of" if self.offset_seconds > 0 else "behind"
        by = timedelta(seconds=round(abs(self.offset_seconds)))
        if self.against == POSTGRES:
            return f"the clock of {self.host} is {by} {ahead} Postgres's, by which the service goes: set it right"
        return f"Postgres's clock is {by} {ahead} that of the tenant {self.against}: find out which of them is wrong"


class ClockWatch:
    """One process's looks at the clocks."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._host = socket.gethostname()
        self._told: dict[str, float] = {}

    def look(self, tenants: Mapping[str, timedelta] | None = None) -> None:
        """Compare this machine's clock and those of tenants with Postgres's, as it was last measured.

        Parameters:
            tenants: how far the clock of each is ahead of Postgres's.
        """
        self._note(POSTGRES, clock.wall_offset_seconds())
        for tenant, ahead in (tenants or {}).items():
            self._note(tenant, -ahead.total_seconds())

    def _note(self, against: str, seconds: float) -> None:
        CLOCK_OFFSET.labels(against).set(seconds)
        found = ClockOffset(self._host, against, round(seconds, 3))
        told = self._told.get(against)
        if abs(seconds) < TOLERANCE_SECONDS:
            if self._told.pop(against, None) is not None:
                logger.info("clock right again", against=against, offset_seconds=found.offset_seconds)
            return
        if told is None or abs(seconds - told) >= TOLERANCE_SECONDS:
            self._told[against] = seconds
            logger.warning(str(found), against=against, offset_seconds=found.offset_seconds)
        with contextlib.suppress(RedisError):  # the log and the metric have it
            self._redis.set(f"{_KEY}{self._host}:{against}", orjson.dumps(asdict(found)), px=SHOWN_MS)


def wrong_clocks(client: redis.Redis | None) -> list[ClockOffset]:
    """Return the clocks that are wrong: of this machine, and what any process found within the last minute.

    Parameters:
        client: None where Redis does not answer.

    Raises:
        RedisError: Redis does not answer.
    """
    keys = [] if client is None else sorted(client.scan_iter(f"{_KEY}*"))
    values = client.mget(keys) if client is not None and keys else []
    found = [ClockOffset(**orjson.loads(value)) for value in values if value is not None]
    ours = ClockOffset(socket.gethostname(), POSTGRES, round(clock.wall_offset_seconds(), 3))
    others = [one for one in found if (one.host, one.against) != (ours.host, POSTGRES)]
    return [ours, *others] if abs(ours.offset_seconds) >= TOLERANCE_SECONDS else others
