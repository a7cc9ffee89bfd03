"""The heartbeat of a process: while it beats, the process keeps its leases.

See :mod:`storage.monitoring.processes` for what happens when a process stops beating.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from uuid import UUID

from prometheus_client import Gauge
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

import migrations
from runtime.errors import cause
from runtime.logging import get_logger
from storage.database import create_database_engine
from storage.ids import uuid7
from storage.monitoring import processes
from storage.monitoring.processes import BEAT_INTERVAL, Process

logger = get_logger(__name__)

BUILD_INFO = Gauge(
    "ampeco_build_info",
    "1, with the release of the process and the revision of the tables that it needs",
    ["version", "revision"],
    multiprocess_mode="livemax",
)

#: The ids of the heartbeats that this process created, mostly one.
_own_ids: set[UUID] = set()

#: How long a stop waits for a beat that is under way.
STOP_SECONDS = 5.0


class Heartbeat:
    """Registers this process and beats in a thread of its own, over a connection of its own.

    If a beat fails, the failure is recorded and the next beat is tried. No failure ends the thread, because the leases
    of a living process must not be given to others.

    Parameters:
        database_url: the URL of the database.
        name: what the process runs, such as ``serve`` or ``work refresh``.

    Attributes:
        problem: what keeps this process from its work, in one sentence, for other processes to see; None if nothing
            does. Any thread may set it.
        find_problem: a function that returns the problem, called before each beat of the thread; None if there is none.
        failure: why the last beat failed, in one sentence; None if it succeeded.
    """

    def __init__(self, database_url: str, name: str) -> None:
        release = version("ampeco-receiver")
        BUILD_INFO.labels(release, migrations.head()).set(1)
        self._process = Process(uuid7(), name, socket.gethostname(), os.getpid(), release, _pid_space())
        _own_ids.add(self._process.process_id)
        self._engine = create_database_engine(database_url, application_name=f"ampeco-receiver {name}", pool_size=1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.problem: str | None = None
        self.find_problem: Callable[[], str | None] | None = None
        self.failure: str | None = None

    @property
    def process_id(self) -> UUID:
        """The id of this process in ``ingest.process`` and in its leases."""
        return self._process.process_id

    def start(self) -> None:
        """Start the thread that beats."""
        self._thread.start()

    def stop(self) -> None:
        """Stop beating, and record that the process stopped in order."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():  # it uses the only connection, and Postgres does not answer
            logger.warning("stop of this process not recorded", error=f"a beat takes more than {STOP_SECONDS:g} s")
            return
        try:
            with self._engine.begin() as connection:
                processes.leave(connection, self.process_id)
        except SQLAlchemyError as error:
            logger.warning("stop of this process not recorded", error=cause(error))
        self._engine.dispose()

    def beat(self) -> None:
        """Beat once; a failure is recorded in :attr:`failure` and not raised."""
        try:
            with self._engine.begin() as connection:
                if not processes.heartbeat(connection, self.process_id, self.problem):
                    processes.register(connection, self._process)
                self._record_dead_neighbours(connection)
        except Exception as error:  # noqa: BLE001 - the next beat may succeed
            failure: str | None = cause(error)
        else:
            failure = None
        if failure != self.failure:
            self.failure = failure
            if failure is None:
                logger.info("heartbeat succeeds again")
            else:
                logger.warning("heartbeat failed", error=failure)

    def _record_dead_neighbours(self, connection: Connection) -> None:
        """Record which processes of this machine died, so that their leases end before their heartbeat is overdue."""
        pids = processes.neighbours(connection, self._process)
        dead = {
            process_id: pid
            for process_id, pid in pids.items()
            if process_id not in _own_ids and (pid == self._process.pid or not _runs(pid))
        }
        if dead:
            processes.note_dead(connection, dead)
            logger.warning("processes died", pids=sorted(dead.values()))

    def _run(self) -> None:
        while True:
            with contextlib.suppress(Exception):
                if self.find_problem is not None:
                    self.problem = self.find_problem()
            with contextlib.suppress(Exception):  # even if the log cannot be written, the heartbeat continues
                self.beat()
            if self._stop.wait(BEAT_INTERVAL.total_seconds()):
                return


@contextlib.contextmanager
def registered(database_url: str, name: str) -> Iterator[Heartbeat]:
    """Register this process and beat until the end of the block."""
    heartbeat = Heartbeat(database_url, name)
    heartbeat.start()
    try:
        yield heartbeat
    finally:
        heartbeat.stop()


def _pid_space() -> str | None:
    """Return what makes our pids unique: the boot of the kernel and the pid namespace; None if it is not available."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _runs(pid: int) -> bool:
    """Return whether a process with this pid exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to another user
    return True
