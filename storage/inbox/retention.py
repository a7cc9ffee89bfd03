"""Drop old days of the log, each as soon as all its batches are closed.

A function of the database does this as the owner of the tables. It keeps failed notifications. A day with an open
batch is not dropped, and neither are later days.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, text

from storage.database import set_statement_timeout
from storage.locks import Lock, lock_shared

#: The function in the database refuses to drop days that are younger.
MIN_KEPT = timedelta(days=7)

#: Dropping a day of millions of notifications takes long, but blocks no other process.
DROP_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Dropped:
    """The result for one day; ``kept`` is the number of its failed notifications, None if the day is ``open``."""

    day: date
    became: Literal["dropped", "open"]
    kept: int | None


def keep_days(connection: Connection) -> None:
    """Prevent days from being dropped until the transaction ends, because it changes bodies of the log."""
    lock_shared(connection, Lock.DROP_LOG_DAY)


# Postgres's clock decides how old a day is, because a dropped day cannot be restored.
_DROP = text("SELECT day, became, kept FROM ingest.drop_log_day(CAST((now() - :keep) AT TIME ZONE 'UTC' AS date))")


def drop_log_day(connection: Connection, keep: timedelta) -> Dropped | None:
    """Drop the oldest day that ended longer ago than ``keep``.

    Returns:
        None if there is no such day, or another process is dropping one.
    """
    set_statement_timeout(connection, DROP_TIMEOUT)
    day, became, kept = connection.execute(_DROP, {"keep": keep}).one()
    return None if day is None else Dropped(day, became, kept)


_COMPLETE_SINCE = text("SELECT (max(day) + 1)::timestamp AT TIME ZONE 'UTC' FROM ingest.dropped_day")


def complete_since(connection: Connection) -> datetime | None:
    """Return the time since which the log is complete; None if no day was ever dropped."""
    since: datetime | None = connection.execute(_COMPLETE_SINCE).scalar()
    return since


def last_dropped_at(connection: Connection) -> datetime | None:
    """Return when a day was dropped last; None if no day was ever dropped."""
    at: datetime | None = connection.execute(text("SELECT max(dropped_at) FROM ingest.dropped_day")).scalar()
    return at
