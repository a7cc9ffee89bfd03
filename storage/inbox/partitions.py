"""Make the log's partitions, one for each UTC day, ahead of time.

A function of the database makes them as the owner of the tables: the accept path may need a partition at any
moment, and the service itself has no privilege to create or drop tables.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from psycopg import AsyncConnection
from sqlalchemy import Connection, Engine, text

#: All processes that make partitions may be down for a week before the accept path has to make one itself.
DAYS_AHEAD = 7

#: Makes the missing partitions from yesterday to ``DAYS_AHEAD``. Any number of processes may run it at the same time.
MAKE_PARTITIONS = f"SELECT ingest.make_log_partitions({DAYS_AHEAD})"


def make_partitions(engine: Engine) -> None:
    """Make the log's missing partitions for the days ahead."""
    with engine.begin() as connection:
        connection.execute(text(MAKE_PARTITIONS))


async def make_partitions_async(connection: AsyncConnection[Any]) -> None:
    """Make the log's missing partitions for the days ahead, on a connection in autocommit."""
    await connection.execute(MAKE_PARTITIONS.encode())


_DAYS_PREPARED = text("""
SELECT count(*)
  FROM generate_series(1, :days) AS ahead
 WHERE to_regclass('ingest.notification_' || to_char(timezone('UTC', now()) + ahead * interval '1 day', 'YYYYMMDD'))
       IS NOT NULL
""")


def days_prepared(connection: Connection) -> int:
    """Return how many of the days ahead have a partition of the log, at most ``DAYS_AHEAD``."""
    return int(connection.execute(_DAYS_PREPARED, {"days": DAYS_AHEAD}).scalar_one())


_HAS_PARTITION = text("SELECT to_regclass('ingest.notification_' || :day) IS NOT NULL")


def has_partition(connection: Connection, day: date) -> bool:
    """Return whether the log has a partition for a UTC day."""
    return bool(connection.execute(_HAS_PARTITION, {"day": f"{day:%Y%m%d}"}).scalar_one())


def made_until(connection: Connection, today: date) -> date | None:
    """Return the last UTC day up to which the log has a partition for each day, at most ``DAYS_AHEAD`` days ahead.

    Returns:
        None if there is no partition for ``today``.
    """
    until = None
    for ahead in range(DAYS_AHEAD + 1):
        day = today + timedelta(days=ahead)
        if not has_partition(connection, day):
            break
        until = day
    return until
