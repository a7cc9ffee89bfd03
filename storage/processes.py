"""The processes of the service: which run, which stopped, and which went away.

Each registers when it starts and beats while it lives. What a process holds under a lease is free
again once it stopped, was found dead, or was not seen for :data:`LOST_AFTER`; times are Postgres's
own throughout.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, text

#: How often a process beats.
BEAT_INTERVAL = timedelta(seconds=5)

#: A process that was not seen for this long counts as gone. Three beats may fail or come late on a
#: busy machine; a fourth seldom does.
LOST_AFTER = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it registers.

    Attributes:
        process_id: UUIDv7, its own for as long as it runs.
        name: what it runs, such as ``serve`` or ``work refresh``.
        host: the name of its host.
        pid: its process id on that host.
        version: the release that it runs.
        pid_space: where ``pid`` is unique, such as a boot of a machine; None where that is not known.
    """

    process_id: UUID
    name: str
    host: str
    pid: int
    version: str
    pid_space: str | None = None


@dataclass(frozen=True, slots=True)
class ListedProcess:
    """A registered process.

    Attributes:
        seen_seconds_ago: how long ago it last beat.
        stopped_at: when it stopped in order; None while it runs, and where it was killed.
        problem: what keeps it from its work; None where nothing does.
        is_alive: whether it runs, as far as its heartbeat shows.
    """

    process_id: UUID
    name: str
    host: str
    pid: int
    version: str
    started_at: datetime
    seen_at: datetime
    seen_seconds_ago: float
    stopped_at: datetime | None
    problem: str | None
    is_alive: bool

    @property
    def is_lost(self) -> bool:
        """Whether it went away without stopping in order."""
        return not self.is_alive and self.stopped_at is None

    @property
    def state(self) -> Literal["working", "hindered", "stopped", "lost"]:
        """How it is: at work, kept from its work by its problem, stopped in order, or gone."""
        if self.is_alive:
            return "hindered" if self.problem else "working"
        return "lost" if self.is_lost else "stopped"


# Index: primary key.
_REGISTER = text("""
INSERT INTO ingest.process AS known (process_id, name, host, pid, pid_space, version)
VALUES (:process_id, :name, :host, :pid, :pid_space, :version)
    ON CONFLICT (process_id) DO UPDATE SET seen_at = now(), stopped_at = NULL
""")


def register(connection: Connection, process: Process) -> None:
    """Add a process that runs; one that is registered already counts as seen now."""
    connection.execute(
        _REGISTER,
        {
            "process_id": process.process_id,
            "name": process.name,
            "host": process.host,
            "pid": process.pid,
            "pid_space": process.pid_space,
            "version": process.version,
        },
    )


# Index: primary key.
_HEARTBEAT = text("""
UPDATE ingest.process
   SET seen_at = now(), stopped_at = NULL, problem = :problem
 WHERE process_id = :process_id
RETURNING process_id
""")


def heartbeat(connection: Connection, process_id: UUID, problem: str | None = None) -> bool:
    """Note that a process lives.

    Parameters:
        problem: what keeps it from its work, in one sentence; None where nothing does.

    Returns:
        False where it is not registered, or no longer: register it again.
    """
    return connection.execute(_HEARTBEAT, {"process_id": process_id, "problem": problem}).first() is not None


# Index: primary key.
_LEAVE = text("UPDATE ingest.process SET seen_at = now(), stopped_at = now() WHERE process_id = :process_id")


def leave(connection: Connection, process_id: UUID) -> None:
    """Note that a process stops in order: what it holds is free at once."""
    connection.execute(_LEAVE, {"process_id": process_id})


# The table is read whole, here and below: it holds a row for each process of the last day.
_NEIGHBOURS = text("""
SELECT process_id, pid
  FROM ingest.process
 WHERE pid_space = :pid_space
   AND process_id <> :process_id
   AND stopped_at IS NULL
   AND seen_at > now() - :lost_after
""")


def neighbours(connection: Connection, process: Process) -> dict[UUID, int]:
    """Return the processes that count as alive and whose pids can be told from here, with their pids."""
    if process.pid_space is None:
        return {}
    given = {"pid_space": process.pid_space, "process_id": process.process_id, "lost_after": LOST_AFTER}
    return {process_id: pid for process_id, pid in connection.execute(_NEIGHBOURS, given)}  # noqa: C416 - a result is no mapping


# Index: primary key.
_NOTE_DEAD = text("""
UPDATE ingest.process
   SET seen_at = now() - :lost_after
 WHERE process_id = ANY(:process_ids)
   AND stopped_at IS NULL
""")


def note_dead(connection: Connection, process_ids: Collection[UUID]) -> None:
    """Note processes that were found dead: what they hold is free at once."""
    connection.execute(_NOTE_DEAD, {"process_ids": list(process_ids), "lost_after": LOST_AFTER})


_PRUNE = text("DELETE FROM ingest.process WHERE seen_at < now() - :age")


def prune(connection: Connection, age: timedelta) -> None:
    """Delete the processes that were last seen longer ago than ``age``."""
    connection.execute(_PRUNE, {"age": age})


_LIST = text("""
SELECT process_id, name, host, pid, version, started_at, seen_at,
       CAST(extract(epoch FROM now() - seen_at) AS float8),
       stopped_at, problem, stopped_at IS NULL AND seen_at > now() - :lost_after
  FROM ingest.process
 ORDER BY name, host, started_at, process_id
""")


def list_processes(connection: Connection) -> list[ListedProcess]:
    """Return every registered process, those that stopped or went away during the last day too."""
    return [ListedProcess(*row) for row in connection.execute(_LIST, {"lost_after": LOST_AFTER})]


def lease_ended(table: str) -> str:
    """Return a SQL condition: no living process has a row of ``table`` leased.

    Parameters:
        table: the name or alias of a table with ``lease_expires_at`` and ``leased_by``. A lease that
            names no process, as an older release takes it, lasts until it expires.
    """
    return f"""
       ({table}.lease_expires_at IS NULL
        OR {table}.lease_expires_at < now()
        OR {table}.leased_by IS NOT NULL
           AND NOT EXISTS (
               SELECT FROM ingest.process
                WHERE process.process_id = {table}.leased_by
                  AND process.stopped_at IS NULL
                  AND process.seen_at > now() - interval '{LOST_AFTER.total_seconds()} s'))
    """
