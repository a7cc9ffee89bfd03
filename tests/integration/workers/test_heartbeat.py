"""The heartbeat of a process: it registers, and nothing that fails ends it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from runtime.heartbeat import Heartbeat
from storage.ids import uuid7
from storage.monitoring.processes import BEAT_INTERVAL, ListedProcess, Process, list_processes, register
from tests.support.log import query
from tests.support.service import eventually


@pytest.fixture
def heartbeat(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heartbeat]:
    """A heartbeat that does not wait long between two beats."""
    monkeypatch.setattr("runtime.heartbeat.BEAT_INTERVAL", BEAT_INTERVAL / 100)
    made = Heartbeat(database_url, "work refresh")
    yield made
    made.stop()


def own(engine: Engine, heartbeat: Heartbeat) -> ListedProcess | None:
    with engine.connect() as connection:
        return next((one for one in list_processes(connection) if one.process_id == heartbeat.process_id), None)


def test_a_process_registers_beats_and_leaves(engine: Engine, heartbeat: Heartbeat) -> None:
    heartbeat.start()
    first = eventually(lambda: own(engine, heartbeat))
    assert (first.name, first.is_alive) == ("work refresh", True)
    heartbeat.problem = "Redis does not answer"
    eventually(lambda: (found := own(engine, heartbeat)) and found.seen_at > first.seen_at and found.problem)
    heartbeat.stop()
    left = own(engine, heartbeat)
    assert left is not None
    assert (left.is_alive, left.is_lost) == (False, False)


def test_a_beat_that_fails_is_noted_and_the_next_one_registers_again(engine: Engine, heartbeat: Heartbeat) -> None:
    # Given a heartbeat
    heartbeat.start()
    eventually(lambda: own(engine, heartbeat))
    # When Postgres refuses it, whatever the reason
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE ingest.process RENAME TO gone"))
    eventually(lambda: heartbeat.failure)
    assert "ingest.process" in (heartbeat.failure or "")
    # Then it beats again once Postgres takes it, and registers what was lost
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE ingest.gone RENAME TO process"))
        connection.execute(text("DELETE FROM ingest.process"))
    assert eventually(lambda: own(engine, heartbeat)).is_alive
    eventually(lambda: heartbeat.failure is None)


def test_no_failure_of_any_kind_ends_the_heartbeat(
    engine: Engine, heartbeat: Heartbeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a beat, and a log, that raise unexpected errors
    beaten: list[int] = []

    def beat() -> None:
        beaten.append(1)
        raise RuntimeError("the log cannot be written")

    monkeypatch.setattr(heartbeat, "beat", beat)
    heartbeat.start()
    eventually(lambda: len(beaten) > 2)
    # When that is over
    monkeypatch.undo()
    # Then it beats
    eventually(lambda: own(engine, heartbeat), seconds=30)


def test_a_process_that_died_on_the_same_machine_is_noticed_at_once_and_no_other(
    engine: Engine, heartbeat: Heartbeat
) -> None:
    # Given one that runs, one that died, one whose pid is ours now, and two whose pids say nothing
    heartbeat.beat()
    (own_space,) = query(engine, "SELECT pid_space FROM ingest.process")
    dead = subprocess.Popen(["true"])
    dead.wait()
    here, elsewhere = own_space["pid_space"], "another boot pid:[1]"
    pids = {"runs": (os.getppid(), here), "died": (dead.pid, here), "was us": (os.getpid(), here)}
    pids |= {"elsewhere": (dead.pid, elsewhere), "unknown": (dead.pid, None)}
    with engine.begin() as connection:
        for name, (pid, pid_space) in pids.items():
            register(connection, Process(uuid7(), name, "host", pid, "1.2.3", pid_space))
    # When we beat
    heartbeat.beat()
    # Then the dead of our own machine count as lost
    with engine.connect() as connection:
        lost = {process.name for process in list_processes(connection) if process.is_lost}
    assert heartbeat.failure is None
    assert lost == {"died", "was us"}
