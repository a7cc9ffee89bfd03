"""Any process may die at any instant, and Redis may be emptied: nothing accepted is lost."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis
from sqlalchemy import Engine, text

from ampeco.signature import sign
from tests.support.facts import sample
from tests.support.ledger import compare
from tests.support.processes import Processes, end, processes
from tests.support.sender import Sender
from tests.support.service import TOKEN, eventually, free_port


@pytest.fixture
def service(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Processes]:
    with processes(database_url, redis_url, tmp_path) as running:
        running.serve()
        yield running


def end_leases(engine: Engine) -> None:
    """Let time pass for the leases of the dead, which are long beside a test."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE ingest.batch SET lease_expires_at = now() WHERE applied_at IS NULL"))


def test_a_killed_worker_and_an_emptied_redis_lose_nothing(service: Processes, engine: Engine, redis_url: str) -> None:
    # Given a steady load, and a worker in the middle of it
    worker = service.work()
    with Sender(service.urls) as sender, redis.Redis.from_url(redis_url) as client:
        sender.wait_for(150)
        # When the worker is killed, Redis emptied, and another worker started, under load
        worker.kill()
        worker.wait()
        sender.wait_for(50)
        client.flushdb()
        sender.wait_for(50)
        service.work()
        sender.wait_for(50)
        client.flushdb()
    end_leases(engine)
    # Then everything that was acknowledged is in the log as sent, is applied, and had its effect once
    found = compare(engine, sender)
    assert found.lost == []
    assert found.duplicated == []


def test_what_was_accepted_is_applied_after_redis_was_emptied_though_nothing_more_comes(
    service: Processes, engine: Engine, redis_url: str
) -> None:
    with Sender(service.urls) as sender:
        sender.wait_for(20)
    time.sleep(0.5)  # the last wake-up may be sent a moment after its commit
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    service.work()
    found = compare(engine, sender)
    assert found.lost == []


KILLED_BY = 666

#: A work process that dies of one notification, as a bug in a library can make it.
DOOMED = f"""
import os, signal, threading
from runtime.settings import load_settings
from storage.state import notifications
from workers import process
from workers.apply import apply

changes_from_notification = notifications.changes_from_notification

def deadly(payload, body, notification_id):
    if body.get("evseId") == {KILLED_BY}:
        os.kill(os.getpid(), signal.SIGKILL)
    return changes_from_notification(payload, body, notification_id)

apply.changes_from_notification = deadly
process.work(load_settings(), {{"apply"}})
"""


def test_a_notification_that_kills_its_worker_is_set_aside_and_its_neighbours_are_applied(
    service: Processes, engine: Engine
) -> None:
    # Given a deadly notification among good ones
    good, deadly = sample("HardwareStatusNotification.evse"), sample("HardwareStatusNotification.evse")
    deadly["evseId"] = KILLED_BY
    with httpx.Client(base_url=service.url) as client:
        for body in (good, deadly, good | {"evseId": 903}):
            raw = json.dumps(body).encode()
            answer = client.post("/notifications/demo", content=raw, headers={"X-Signature": sign(raw, TOKEN)})
            assert answer.status_code == 202

    # When workers die of it and are started again, as a supervisor does
    def settled() -> bool:
        if service.started[-1].poll() is not None or len(service.started) == 1:
            end_leases(engine)
            service.start("-c", DOOMED)
        with engine.connect() as connection:
            statement = text("SELECT count(*) FROM ingest.batch WHERE applied_at IS NULL")
            return not connection.execute(statement).scalar_one()

    eventually(settled, seconds=100)
    # Then the guilty one failed, and the others were applied
    with engine.connect() as connection:
        states = connection.execute(
            text("SELECT evse_id, state, reason FROM ingest.notification_state ORDER BY notification_id")
        ).all()
    assert states == [
        (902, "applied", None),
        (KILLED_BY, "failed", "its worker ended while applying it"),
        (903, "applied", None),
    ]


@pytest.mark.parametrize("command", [["serve", "--processes", "2"], ["work"]], ids=["serve", "work"])
def test_what_a_killed_parent_started_leaves_by_itself(service: Processes, command: list[str]) -> None:
    # Given a process that runs others
    if command[0] == "serve":
        parent = service.serve(f"http://127.0.0.1:{free_port()}", *command[1:])
    else:
        parent = service.start("-m", "receiver", *command)
    eventually(lambda: len(_children(parent.pid)) > 1, seconds=60)
    ours = _children(parent.pid)
    # When it is killed, then they end in order, though no process signals them
    end(parent, signal.SIGKILL)
    eventually(lambda: not any(map(_is_alive, ours)), seconds=60)
    assert "the process that started this one is gone" in service.log.read_text()


SUPERVISED_CONSOLE = """
from receiver.processes.supervisor import Supervisor, receiver_child

Supervisor([receiver_child("console", "console")], shutdown_seconds=5).run()
"""


def test_the_console_of_a_killed_parent_leaves_by_itself(service: Processes) -> None:
    port = free_port()
    parent = service.start("-c", SUPERVISED_CONSOLE, RECEIVER_CONSOLE_PORT=str(port))
    eventually(lambda: _answers(f"http://127.0.0.1:{port}/healthz"), seconds=60)
    consoles = _children(parent.pid)
    end(parent, signal.SIGKILL)
    eventually(lambda: not any(map(_is_alive, consoles)), seconds=60)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url).is_success
    return False


def _children(parent: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return b"State:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    return False
