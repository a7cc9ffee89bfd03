"""Show what the meter of a session measured: its sources, and curves of few enough points to be drawn."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

from sqlalchemy import Connection, text

#: The most sources that are listed. Charge points choose the names, so there is no end to them.
MAX_SOURCES = 60

#: About how many points a curve has; no screen shows more.
MAX_POINTS = 600

#: What a source measures, if it is one of the quantities of a session.
Quantity = Literal["power", "energy", "register", "soc"]

_QUANTITIES: dict[str, Quantity] = {
    "power active import": "power",
    "energy consumed": "energy",
    "energy active import register": "register",
    "state of charge": "soc",
    "soc": "soc",
}


class SourceKey(NamedTuple):
    """A source of samples: what is measured, where, which of several samples of a time, and in which unit."""

    measurand: str
    location: str | None
    ordinal: int
    unit: str | None

    @property
    def quantity(self) -> Quantity | None:
        """What it measures; charge points spell the names with spaces, dots, hyphens or underscores."""
        return _QUANTITIES.get(self.measurand.lower().translate(_AS_SPACES))


_AS_SPACES = str.maketrans("._-", "   ")


@dataclass(frozen=True, slots=True)
class Source:
    """A source, with the number of its samples, the least and the greatest of them, and their times."""

    key: SourceKey
    samples: int
    least: Decimal
    greatest: Decimal
    first_at: datetime
    last_at: datetime


class Point(NamedTuple):
    """A point of a curve."""

    at: datetime
    value: Decimal


# Index: meter_value_sample_key, once for a session.
_SOURCES = text("""
SELECT measurand, location, ordinal, unit, count(*), min(value), max(value), min(measured_at), max(measured_at)
  FROM charging.meter_value
 WHERE tenant = :tenant
   AND session_id = :session_id
 GROUP BY measurand, location, ordinal, unit
 ORDER BY measurand, location, ordinal, unit
 LIMIT :limit
""")


def sources(connection: Connection, tenant: str, session_id: int) -> list[Source]:
    """Return the sources of a session's samples."""
    rows = connection.execute(_SOURCES, {"tenant": tenant, "session_id": session_id, "limit": MAX_SOURCES})
    return [Source(SourceKey(*row[:4]), *row[4:]) for row in rows]


# Index: meter_value_sample_key.
_CURVES = text("""
SELECT measurand, location, ordinal, unit, max(measured_at) AS at, max(value)
  FROM charging.meter_value
 WHERE tenant = :tenant
   AND session_id = :session_id
   AND measurand = ANY(:measurands)
   AND measured_at >= :since
   AND measured_at <= :until
 GROUP BY measurand, location, ordinal, unit, date_bin(:step, measured_at, :since)
 ORDER BY at
""")


def curves(
    connection: Connection,
    tenant: str,
    session_id: int,
    measurands: Collection[str],
    since: datetime,
    until: datetime,
    step: timedelta,
) -> dict[SourceKey, list[Point]]:
    """Return the samples of some measurands between two times, by their source.

    Parameters:
        step: of the samples of one step only the greatest is returned; see :func:`step_of`.
    """
    rows = connection.execute(
        _CURVES,
        {
            "tenant": tenant,
            "session_id": session_id,
            "measurands": list(measurands),
            "since": since,
            "until": until,
            "step": step,
        },
    )
    by_source: dict[SourceKey, list[Point]] = {}
    for *key, at, value in rows:
        by_source.setdefault(SourceKey(*key), []).append(Point(at, value))
    return by_source


def step_of(since: datetime, until: datetime) -> timedelta:
    """Return how long the steps of a curve between two times are: whole seconds, at least one."""
    return timedelta(seconds=max(1, -(-int((until - since).total_seconds()) // MAX_POINTS)))


@dataclass(frozen=True, slots=True)
class ConsumptionPoint:
    """A point of AMPECO's consumption statistics: energy so far in Wh, and power in W."""

    at: datetime
    energy_wh: Decimal | None
    power_w: Decimal | None


# Index: consumption_point_tenant_session_id_measured_at_key. AMPECO shows at most 300 points of a session.
_CONSUMPTION = text("""
SELECT measured_at, energy_wh, power_w
  FROM charging.consumption_point
 WHERE tenant = :tenant
   AND session_id = :session_id
 ORDER BY measured_at
 LIMIT :limit
""")


def consumption(connection: Connection, tenant: str, session_id: int) -> list[ConsumptionPoint]:
    """Return the points of AMPECO's consumption statistics of a session without meter values."""
    rows = connection.execute(_CONSUMPTION, {"tenant": tenant, "session_id": session_id, "limit": MAX_POINTS})
    return [ConsumptionPoint(*row) for row in rows]
