"""Record when a receiver was alive, by a heartbeat, and find the outages: the gaps in the heartbeat.

A heartbeat proves that a receiver runs and that Postgres accepts its writes. Without one of them, AMPECO's
notifications fail, so each gap is an outage of ours, whatever its cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from storage.locks import Lock, lock

#: How often a receiver updates the heartbeat.
BEAT_INTERVAL = timedelta(seconds=10)

#: A longer time without a heartbeat is an outage. A restart takes less time, which AMPECO's own retries bridge.
MAX_PAUSE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Outage:
    """A period in which no receiver was alive, by our clock."""

    began_at: datetime
    ended_at: datetime


# Index: primary key, from its end.
_BEAT = text("""
UPDATE ingest.uptime
   SET last_beat_at = greatest(last_beat_at, now())
 WHERE began_at = (SELECT max(began_at) FROM ingest.uptime)
   AND last_beat_at > now() - :pause
RETURNING began_at
""")

_RISE = text("""
WITH before AS (
    SELECT max(last_beat_at) AS last_beat_at FROM ingest.uptime
), risen AS (
    INSERT INTO ingest.uptime (began_at, last_beat_at) VALUES (now(), now())
)
SELECT last_beat_at, now() FROM before
""")


def beat(connection: Connection) -> Outage | None:
    """Record that a receiver is alive, and return the outage that ends with this, if one does.

    If several receivers end an outage at the same time, only one of them gets it.
    """
    if connection.execute(_BEAT, {"pause": MAX_PAUSE}).first() is not None:
        return None
    lock(connection, Lock.UPTIME)
    if connection.execute(_BEAT, {"pause": MAX_PAUSE}).first() is not None:
        return None
    last_beat_at, now = connection.execute(_RISE).one()
    return None if last_beat_at is None else Outage(last_beat_at, now)


# Index: primary key, from its end; each outage adds one row.
_OUTAGES = text("""
SELECT began_at, ended_at
  FROM (SELECT last_beat_at AS began_at, lead(began_at) OVER (ORDER BY began_at) AS ended_at FROM ingest.uptime) AS gap
 WHERE ended_at > :since
 ORDER BY began_at
""")


def outages(connection: Connection, since: datetime) -> Sequence[Outage]:
    """Return the outages that ended after a time, oldest first."""
    return [Outage(*row) for row in connection.execute(_OUTAGES, {"since": since})]


# Index: primary key; each outage adds one row.
_ALIVE = text("SELECT began_at, last_beat_at FROM ingest.uptime ORDER BY began_at")


def periods_alive(connection: Connection) -> list[tuple[datetime, datetime]]:
    """Return when receivers were alive: the beginning and the last heartbeat of each period, oldest first."""
    return [(began_at, last_beat_at) for began_at, last_beat_at in connection.execute(_ALIVE)]
