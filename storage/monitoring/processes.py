"""Register the processes of the service: which run, which stopped in order, and which are lost.

Each process registers when it starts, and updates its heartbeat while it lives. The leases of a process end when it
stops, when another process finds it dead, or when its last heartbeat is older than :data:`LOST_AFTER`. All times
are by Postgres's clock.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, text

#: How often a process updates its heartbeat.
BEAT_INTERVAL = timedelta(seconds=5)

#: A process whose last heartbeat is older than this counts as lost. On a busy machine three heartbeats may fail or
#: be late; a fourth seldom is.
LOST_AFTER = timedelta(seconds=20)


#: The state of a process: ``hindered`` is alive with a problem, ``stopped`` stopped in order, ``lost`` did not.
ProcessState = Literal["working", "hindered", "stopped", "lost"]


@dataclass(frozen=True, slots=True)
class Process:
    """A process that registers.

    Attributes:
        process_id: UUIDv7, made when the process starts.
        name: what it runs, such as ``serve`` or ``work refresh``.
        host: the name of its host.
        pid: its process id on that host.
        version: the release that it runs.
        pid_space: identifies where ``pid`` is unique, such as a boot of a machine; None if that is not known.
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
        seen_at: the time of its last heartbeat.
        seen_seconds_ago: the age of its last heartbeat, in seconds.
        stopped_at: when it stopped in order; None while it runs, or if it was killed.
        problem: what prevents it from working; None if nothing does.
        is_alive: whether it runs, according to its heartbeat.
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
        """Whether it ended without recording that it stopped in order."""
        return not self.is_alive and self.stopped_at is None

    @property
    def state(self) -> ProcessState:
        """The state of the process."""
        if self.is_alive:
            return "hindered" if self.problem else "working"
        return "lost" if self.is_lost else "stopped"


# Index: primary key.
_REGISTER = text("""
INSERT INTO ingest.process (process_id, name, host, pid, pid_space, version)
VALUES (:process_id, :name, :host, :pid, :pid_space, :version)
    ON CONFLICT (process_id) DO UPDATE SET seen_at = excluded.seen_at, stopped_at = NULL
""")


def register(connection: Connection, process: Process) -> None:
    """Register a running process; if it is already registered, update its heartbeat."""
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
    """Record that a process lives.

    Parameters:
        process_id: its id.
        problem: what prevents it from working, in one sentence; None if nothing does.

    Returns:
        False if the process is not registered, or no longer: register it again.
    """
    return connection.execute(_HEARTBEAT, {"process_id": process_id, "problem": problem}).first() is not None


# Index: primary key.
_LEAVE = text("UPDATE ingest.process SET seen_at = now(), stopped_at = now() WHERE process_id = :process_id")


def leave(connection: Connection, process_id: UUID) -> None:
    """Record that a process stops in order, which ends its leases at once."""
    connection.execute(_LEAVE, {"process_id": process_id})


# This and the following statements read the whole table, which has a row for each process of the last day.
_NEIGHBOURS = text("""
SELECT process_id, pid
  FROM ingest.process
 WHERE pid_space = :pid_space
   AND process_id <> :process_id
   AND stopped_at IS NULL
   AND seen_at > now() - :lost_after
""")


def neighbours(connection: Connection, process: Process) -> dict[UUID, int]:
    """Return the other processes in the same pid space that count as alive, with their pids."""
    if process.pid_space is None:
        return {}
    parameters = {"pid_space": process.pid_space, "process_id": process.process_id, "lost_after": LOST_AFTER}
    rows = connection.execute(_NEIGHBOURS, parameters)
    return {process_id: pid for process_id, pid in rows}  # noqa: C416 - a result is no mapping


# Index: primary key.
_NOTE_DEAD = text("""
UPDATE ingest.process
   SET seen_at = now() - :lost_after
 WHERE process_id = ANY(:process_ids)
   AND stopped_at IS NULL
""")


def note_dead(connection: Connection, process_ids: Collection[UUID]) -> None:
    """Record that processes were found dead, which ends their leases at once."""
    connection.execute(_NOTE_DEAD, {"process_ids": list(process_ids), "lost_after": LOST_AFTER})


_PRUNE = text("DELETE FROM ingest.process WHERE seen_at < now() - :age")


def prune(connection: Connection, age: timedelta) -> None:
    """Delete the processes whose last heartbeat is older than ``age``."""
    connection.execute(_PRUNE, {"age": age})


_LIST = text("""
SELECT process_id, name, host, pid, version, started_at, seen_at,
       CAST(extract(epoch FROM now() - seen_at) AS float8),
       stopped_at, problem, stopped_at IS NULL AND seen_at > now() - :lost_after
  FROM ingest.process
 ORDER BY name, host, started_at, process_id
""")


def list_processes(connection: Connection) -> list[ListedProcess]:
    """Return all registered processes, including those that stopped or were lost during the last day."""
    return [ListedProcess(*row) for row in connection.execute(_LIST, {"lost_after": LOST_AFTER})]


def lease_ended(table: str) -> str:
    """Return the SQL condition that no living process has a lease of a row.

    Parameters:
        table: the name or alias of a table with ``lease_expires_at`` and ``leased_by``. A lease that
            names no process lasts until it expires.
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
