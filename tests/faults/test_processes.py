"""Any process may die at any instant, and Redis may be emptied: nothing accepted is lost."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis
from sqlalchemy import Engine, text

from ampeco.signature import sign
from tests.support.facts import sample
from tests.support.processes import Processes, Sender, compare, processes
from tests.support.service import TOKEN, eventually


@pytest.fixture
def service(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Processes]:
    with processes(database_url, redis_url, tmp_path) as running:
        # Leases are long beside a test: a killed worker's are taken back at once instead.
        running.serve()
        yield running


def end_leases(engine: Engine) -> None:
    """Let time pass for the leases of the dead."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE ingest.batch SET lease_expires_at = now() WHERE applied_at IS NULL"))


def test_a_killed_worker_and_an_emptied_redis_lose_nothing(service: Processes, engine: Engine, redis_url: str) -> None:
    # Given a steady load, and a worker in the middle of it
    worker = service.work()
    with Sender(service.url) as sender, redis.Redis.from_url(redis_url) as client:
        sender.wait_for(150)
        # When the worker is killed, Redis emptied, and another worker started, under load
        worker.kill()
        worker.wait()
        sender.wait_for(50)
        client.flushall()
        sender.wait_for(50)
        service.work()
        sender.wait_for(50)
        client.flushall()
    end_leases(engine)
    # Then everything that was acknowledged is in the log as sent, and settled
    compare(engine, sender.ledger)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM ingest.outcome")).scalar() == 0
        # And of each entity the newest fact stands, as if nothing had happened
        lagging = connection.execute(
            text("""
                SELECT count(*)
                  FROM charging.evse
                 WHERE hardware_at <> (SELECT max(observed_at) FROM charging.evse_status_observation AS told
                                        WHERE told.tenant = evse.tenant AND told.evse_id = evse.evse_id)
            """)
        ).scalar()
    assert lagging == 0


def test_a_receiver_that_is_told_to_stop_cuts_off_nobody_and_keeps_its_word(service: Processes, engine: Engine) -> None:
    with Sender(service.url) as sender:
        sender.wait_for(100)
        receiver = service.started[0]
        receiver.send_signal(signal.SIGTERM)
        assert receiver.wait(60) == 0
        service.serve()
        sender.wait_for(50)
    service.work()
    assert set(sender.answers) == {202}
    compare(engine, sender.ledger)


def test_a_killed_receiver_loses_nothing_that_it_acknowledged(service: Processes, engine: Engine) -> None:
    with Sender(service.url) as sender:
        sender.wait_for(100)
        service.started[0].kill()
        service.started[0].wait()
        service.serve()
        sender.wait_for(50)
    service.work()
    compare(engine, sender.ledger)


KILLED_BY = 666

#: A work process that dies of one notification, as a bug in a library can make it.
DOOMED = f"""
import os, signal, threading
from storage import facts
from workers import apply, logs, process
from workers.settings import load_settings

findings_of = facts.findings_of

def deadly(payload, body, notification_id):
    if body.get("evseId") == {KILLED_BY}:
        os.kill(os.getpid(), signal.SIGKILL)
    return findings_of(payload, body, notification_id)

apply.findings_of = deadly
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
