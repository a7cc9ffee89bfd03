"""What is taken out of the log once it is old: whole days, as soon as all of a day is settled.

A function of the database does it, as the owner of the tables. It keeps what failed, and what
is not settled keeps its day and all later ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, text

from storage.locks import Lock, lock_shared

#: The database refuses to drop what is younger.
MIN_KEPT = timedelta(days=7)

#: A day of millions takes its time, and holds up nobody meanwhile.
STATEMENT_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What became of a day; ``kept`` are its failed notifications, None where the day is ``open``."""

    day: date
    became: Literal["dropped", "open"]
    kept: int | None


def keep_days(connection: Connection) -> None:
    """Let no day be dropped until the transaction ends: it changes bodies of the log."""
    lock_shared(connection, Lock.DROP_LOG_DAY)


# How old a day is goes by Postgres's clock: a day that is dropped does not come back.
_DROP = text("SELECT day, became, kept FROM ingest.drop_log_day(CAST((now() - :keep) AT TIME ZONE 'UTC' AS date))")


def drop_log_day(connection: Connection, keep: timedelta) -> Dropped | None:
    """Drop the oldest day that ended longer ago than ``keep``.

    Returns:
        None where there is no such day, or another process is at it.
    """
    connection.execute(text(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT // timedelta(milliseconds=1)}"))
    day, became, kept = connection.execute(_DROP, {"keep": keep}).one()
    return None if day is None else Dropped(day, became, kept)


_COMPLETE_SINCE = text("SELECT (max(day) + 1)::timestamp AT TIME ZONE 'UTC' FROM ingest.dropped_day")


def complete_since(connection: Connection) -> datetime | None:
    """From when on the log holds everything; None where nothing was ever dropped."""
    since: datetime | None = connection.execute(_COMPLETE_SINCE).scalar()
    return since
