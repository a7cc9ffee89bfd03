"""The log's partitions, one for each UTC day, made ahead of time.

A function of the database makes them, as the owner of the tables: the service may need one
at any moment of the accept path, and may itself neither make nor drop a table.
"""

from __future__ import annotations

from datetime import date
from typing import Any, LiteralString

from psycopg import AsyncConnection
from sqlalchemy import Connection, Engine, text

#: A week ahead: everything that makes partitions may be down for a week before the
#: accept path has to make one itself.
DAYS_AHEAD = 7

#: Makes those of yesterday to ``DAYS_AHEAD``, where missing. Any number of processes may try at once.
MAKE_PARTITIONS: LiteralString = "SELECT ingest.make_log_partitions(7)"


def make_partitions(engine: Engine) -> None:
    """Make the log's partitions for the days ahead."""
    with engine.begin() as connection:
        connection.execute(text(MAKE_PARTITIONS))


async def make_partitions_async(connection: AsyncConnection[Any]) -> None:
    """Make the log's partitions for the days ahead, on a connection in autocommit."""
    await connection.execute(MAKE_PARTITIONS)


_HAS_PARTITION = text("SELECT to_regclass('ingest.notification_' || :day) IS NOT NULL")


def has_partition(connection: Connection, day: date) -> bool:
    """Return whether notifications that are received on a UTC day have a partition."""
    return bool(connection.execute(_HAS_PARTITION, {"day": f"{day:%Y%m%d}"}).scalar_one())
