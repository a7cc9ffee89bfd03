"""This process's heartbeat: while it beats, what the process holds stays its own.

See :mod:`storage.processes` for what becomes of a process that stops beating.
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

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from storage import processes
from storage.database import create_database_engine
from storage.ids import uuid7
from storage.processes import BEAT_INTERVAL, Process
from workers.errors import cause
from workers.logs import get_logger

logger = get_logger(__name__)

#: The ids of the heartbeats that this process made: mostly one.
_own_ids: set[UUID] = set()

#: How long a stop waits for a beat that is under way.
STOP_SECONDS = 5.0


class Heartbeat:
    """Registers this process and beats in a thread of its own, over a connection of its own.

    A beat that fails is noted and the next one tried: neither Postgres nor anything else ends the
    thread, because what a living process holds must not be given to others.

    Parameters:
        name: what the process runs, such as ``serve`` or ``work refresh``.

    Attributes:
        problem: what keeps this process from its work, in one sentence, for others to see; None
            where nothing does. Any thread may set it.
        find_problem: returns it, where that can be asked; called before each beat of the thread.
        failure: why the last beat failed, in one sentence; None where it did not.
    """

    def __init__(self, database_url: str, name: str) -> None:
        release = version("ampeco-receiver")
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
        """How this process is named in ``ingest.process``, and in what it holds."""
        return self._process.process_id

    def start(self) -> None:
        """Beat from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Beat no more, and note that the process stops in order."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():  # it has the one connection, to a Postgres that does not answer
            logger.warning("the end of this process was not noted", error=f"a beat takes more than {STOP_SECONDS:g} s")
            return
        try:
            with self._engine.begin() as connection:
                processes.leave(connection, self.process_id)
        except SQLAlchemyError as error:
            logger.warning("the end of this process was not noted", error=cause(error))
        self._engine.dispose()

    def beat(self) -> None:
        """Beat once; a failure is noted in :attr:`failure`, and raises nothing."""
        try:
            with self._engine.begin() as connection:
                if not processes.heartbeat(connection, self.process_id, self.problem):
                    processes.register(connection, self._process)
                self._look_after_neighbours(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next beat may succeed
            failure: str | None = cause(error)
        else:
            failure = None
        if failure != self.failure:
            self.failure = failure
            if failure is None:
                logger.info("heartbeat succeeds again")
            else:
                logger.warning("heartbeat failed", error=failure)

    def _look_after_neighbours(self, connection: Connection) -> None:
        """Note which processes of this machine died, so that nobody waits until they are missed."""
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
            with contextlib.suppress(Exception):  # not even a log that cannot be written ends the heartbeat
                self.beat()
            if self._stop.wait(BEAT_INTERVAL.total_seconds()):
                return


@contextlib.contextmanager
def registered(database_url: str, name: str) -> Iterator[Heartbeat]:
    """Register this process and let it beat until the end of the block."""
    heartbeat = Heartbeat(database_url, name)
    heartbeat.start()
    try:
        yield heartbeat
    finally:
        heartbeat.stop()


def _pid_space() -> str | None:
    """Where our pids count: one boot of one kernel, and in it one namespace. None where that is not told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _runs(pid: int) -> bool:
    """Whether there is a process with this pid."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True
