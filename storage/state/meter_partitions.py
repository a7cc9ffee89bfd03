"""Make the monthly partitions of meter values ahead of time, and drop old months.

Functions of the database do this as the owner of the table, because the service itself has no privilege to create or
drop tables. A sample of any date has a partition: the first one has everything before the months, and the default one
everything else, such as the dates of a charge point whose clock is years ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, Engine, text

#: All processes that make partitions may be down for three months before samples go to the default partition.
MONTHS_AHEAD = 3

_MAKE = text(f"SELECT ingest.make_meter_partitions({MONTHS_AHEAD})")


def make_meter_partitions(engine: Engine) -> None:
    """Make the missing partitions of meter values, from the last month to ``MONTHS_AHEAD``."""
    with engine.begin() as connection:
        connection.execute(_MAKE)


@dataclass(frozen=True, slots=True)
class DroppedMonth:
    """The result for one month: its end, and whether it was dropped or its notifications are still in the log."""

    ended_at: datetime
    became: Literal["dropped", "logged"]


# Postgres's clock decides how old a month is, because a dropped month cannot be restored.
_DROP = text("SELECT ended_at, became FROM ingest.drop_meter_month(now() - :keep)")


def drop_meter_month(connection: Connection, keep: timedelta) -> DroppedMonth | None:
    """Drop the oldest month of meter values that ended longer ago than ``keep``.

    Returns:
        None if there is no such month, or another process makes or drops partitions.
    """
    ended_at, became = connection.execute(_DROP, {"keep": keep}).one()
    return None if became is None else DroppedMonth(ended_at, became)
