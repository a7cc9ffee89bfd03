"""Clocks that differ from Postgres's: they are logged once, shown as a metric, and passed to ``status`` through Redis.

The service uses Postgres's clock, so a wrong clock of a machine breaks nothing here; but certificates, logs and other
programs on that machine depend on it. A tenant's clock decides which facts are newer.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta

import orjson
import redis
from prometheus_client import Gauge
from redis.exceptions import RedisError

from runtime.logging import get_logger
from storage.clock import clock

logger = get_logger(__name__)

CLOCK_OFFSET = Gauge(
    "ampeco_clock_offset_seconds",
    "How far this machine's clock is ahead of Postgres's, and Postgres's clock ahead of each tenant's, seconds",
    ["against"],
    multiprocess_mode="livemostrecent",
)

#: Smaller differences are ignored: a tenant's clock is known in whole seconds only, and an answer takes some time.
TOLERANCE_SECONDS = 10.0

#: How often a process compares the clocks, and how long ``status`` shows what it found.
LOOK_INTERVAL = timedelta(seconds=10)
SHOWN_MS = 60_000

_KEY = "ampeco-receiver:clock:"

#: The value of ``against`` for the clock of a machine, in place of a tenant.
POSTGRES = "postgres"


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """A clock that is wrong.

    Attributes:
        host: the machine that found it.
        against: ``postgres`` if the machine's own clock is wrong; else the tenant whose clock differs from Postgres's.
        offset_seconds: how far our clock is ahead of the other, seconds; negative if it is behind.
    """

    host: str
    against: str
    offset_seconds: float

    def __str__(self) -> str:
        ahead = "ahead of" if self.offset_seconds > 0 else "behind"
        by = timedelta(seconds=round(abs(self.offset_seconds)))
        if self.against == POSTGRES:
            return f"the clock of {self.host} is {by} {ahead} Postgres's, which the service uses: correct it"
        return f"Postgres's clock is {by} {ahead} that of the tenant {self.against}: find out which of them is wrong"


class ClockWatch:
    """Compares the clocks, for one process."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._host = socket.gethostname()
        self._logged: dict[str, float] = {}

    def look(self, tenants: Mapping[str, timedelta] | None = None) -> None:
        """Compare the clocks of this machine and of tenants with the last measurement of Postgres's clock.

        Parameters:
            tenants: how far the clock of each tenant is ahead of Postgres's.
        """
        self._report_offset(POSTGRES, clock.wall_offset_seconds())
        for tenant, ahead in (tenants or {}).items():
            self._report_offset(tenant, -ahead.total_seconds())

    def _report_offset(self, against: str, seconds: float) -> None:
        CLOCK_OFFSET.labels(against).set(seconds)
        offset = ClockOffset(self._host, against, round(seconds, 3))
        logged = self._logged.get(against)
        if abs(seconds) < TOLERANCE_SECONDS:
            if self._logged.pop(against, None) is not None:
                logger.info("clock correct again", against=against, offset_seconds=offset.offset_seconds)
            return
        if logged is None or abs(seconds - logged) >= TOLERANCE_SECONDS:
            self._logged[against] = seconds
            logger.warning(str(offset), against=against, offset_seconds=offset.offset_seconds)
        with contextlib.suppress(RedisError):  # the log and the metric show it, too
            self._redis.set(f"{_KEY}{self._host}:{against}", orjson.dumps(asdict(offset)), px=SHOWN_MS)


def wrong_clocks(client: redis.Redis | None) -> list[ClockOffset]:
    """Return the clocks that are wrong: that of this machine, and those that any process found in the last minute.

    Parameters:
        client: None if Redis does not answer; then only this machine's clock is compared.

    Raises:
        RedisError: Redis does not answer.
    """
    keys = [] if client is None else sorted(client.scan_iter(f"{_KEY}*"))
    values = client.mget(keys) if client is not None and keys else []
    offsets = [ClockOffset(**orjson.loads(value)) for value in values if value is not None]
    ours = ClockOffset(socket.gethostname(), POSTGRES, round(clock.wall_offset_seconds(), 3))
    others = [offset for offset in offsets if (offset.host, offset.against) != (ours.host, POSTGRES)]
    return [ours, *others] if abs(ours.offset_seconds) >= TOLERANCE_SECONDS else others
