"""A wall clock that is wrong, or is set while the service runs, costs nothing: it goes by Postgres's."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from ampeco.signature import sign
from storage.database import create_database_engine
from storage.database_url import conninfo
from tests.support.clock import WrongClock
from tests.support.facts import sample
from tests.support.processes import Processes, processes
from tests.support.servers import PostgresServer, RedisServer, own_postgres, own_redis
from tests.support.service import TOKEN, eventually
from tests.support.trial import Ground, Line

#: How far ahead clocks are, and for how long.
WRONG = {
    "a day and two hours behind": (timedelta(days=-1, hours=-2), 5.0),
    "two days ahead for a second": (timedelta(days=2), 1.0),
    "nine days ahead for ten seconds": (timedelta(days=9), 10.0),
    "set back two hours": (timedelta(hours=-2), 10.0),
}

#: A notification waits this long for its commit before it is refused: long, as the machine may be busy.
COMMIT_TIMEOUT = timedelta(seconds=30)
SETTINGS = {"RECEIVER_COMMIT_TIMEOUT": str(COMMIT_TIMEOUT.total_seconds())}

#: Of the time at which Postgres began the commit.
TOLERANCE = timedelta(seconds=1)


def dates(url: str) -> list[tuple[datetime, datetime]]:
    """When each notification was received, and when its commit began by Postgres's clock."""
    with psycopg.connect(conninfo(url)) as connection:
        return connection.execute(
            "SELECT received_at, committed_at FROM ingest.notification JOIN ingest.batch USING (tenant, batch_id)"
        ).fetchall()


def assert_dated_by_postgres(url: str) -> None:
    found = dates(url)
    assert found
    wrong = [(str(received), str(committed)) for received, committed in found if not is_right(received, committed)]
    assert wrong == []


def is_right(received_at: datetime, committed_at: datetime) -> bool:
    return committed_at - COMMIT_TIMEOUT - TOLERANCE <= received_at <= committed_at + TOLERANCE


@pytest.mark.parametrize("at_start", [timedelta(days=-1, hours=-2), timedelta(days=9)], ids=["behind", "ahead"])
def test_a_receiver_whose_clock_is_wrong_dates_by_postgres_and_names_the_clock(
    database_url: str, redis_url: str, tmp_path: Path, at_start: timedelta
) -> None:
    clock = WrongClock(tmp_path / "clock")
    clock.set(at_start)
    with processes(database_url, redis_url, tmp_path, **SETTINGS, **clock.environment) as service:
        service.serve()
        # When it is wrong from the start, and is set again and again
        for offset in (at_start, timedelta(0), timedelta(days=2), timedelta(days=-3), at_start):
            clock.set(offset)
            for _ in range(3):
                post(service)
        eventually(lambda: "which the service uses: correct it" in service.log.read_text())
        shown = json.loads(service.command("status", "--json").stdout)
        metrics = httpx.get(f"{service.admin_url}/metrics").text
        log = service.log.read_text()
    # Then all is dated by Postgres, nothing was refused, and the clock is named: in the log, in status and as a metric
    assert_dated_by_postgres(database_url)
    assert "commit failed" not in log
    assert [one["against"] for one in shown["wrong_clocks"]] == ["postgres"]
    assert shown["wrong_clocks"][0]["offset_seconds"] == pytest.approx(at_start.total_seconds(), abs=60)
    assert 'ampeco_clock_offset_seconds{against="postgres"' in metrics


@dataclass
class Clocked:
    """The service at work under a clock that a test sets."""

    ground: Ground
    clock: WrongClock


@pytest.fixture
def clocked(prepared: Path, fault_table: list[Line], tmp_path: Path) -> Iterator[Clocked]:
    clock = WrongClock(tmp_path / "clock")
    with (
        own_postgres(like=prepared) as postgres,
        own_redis() as redis_server,
        at_work(postgres, redis_server, fault_table, tmp_path, clock.environment) as ground,
    ):
        yield Clocked(ground, clock)


@contextlib.contextmanager
def at_work(
    postgres: PostgresServer, redis_server: RedisServer, table: list[Line], directory: Path, environment: dict[str, str]
) -> Iterator[Ground]:
    with processes(postgres.url, redis_server.url, directory, **SETTINGS, **environment) as service:
        engine = create_database_engine(postgres.url, application_name="tests", pool_size=2)
        worker, receiver = service.work(), service.serve()
        eventually(lambda: service.log.read_text().count('"working"') == 1, seconds=60)
        yield Ground(postgres, redis_server, service, engine, receiver, worker, table)
        engine.dispose()


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wall_clock_that_is_set_under_load_costs_nothing(clocked: Clocked, wrong: str) -> None:
    offset, seconds = WRONG[wrong]
    ground = clocked.ground
    with ground.load(f"clock {wrong}") as load:
        clocked.clock.set(offset)
        load.sender.wait_for(20)
        time.sleep(seconds)
        load.sender.wait_for(20)
        # And what Redis loses in the meantime is sent again by the sweep, which goes by no wall clock
        with redis.Redis.from_url(ground.redis.url) as client:
            client.flushdb()
        load.over()
        clocked.clock.set(timedelta(0))
        load.sender.wait_for(50)
        assert load.sender.answers[503] == 0
        assert_dated_by_postgres(ground.postgres.url)
    # Then Postgres refused nothing, and the log names the clock, but not over and over
    assert "no partition" not in ground.postgres.log
    log = ground.service.log.read_text()
    assert "commit failed" not in log
    assert log.count("which the service uses: correct it") <= 6


def test_what_redis_lost_is_sent_again_after_the_clock_was_set_back(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    clock = WrongClock(tmp_path / "clock")
    with (
        processes(database_url, redis_url, tmp_path, **SETTINGS, **clock.environment) as service,
        redis.Redis.from_url(redis_url) as client,
        psycopg.connect(conninfo(database_url), autocommit=True) as postgres,
    ):
        service.work()
        service.serve()
        eventually(lambda: '"working"' in service.log.read_text(), seconds=60)
        # Given a worker under whom the clock was set back, and an open batch of which Redis knows nothing
        clock.set(timedelta(hours=-2))
        post(service)
        eventually(lambda: postgres.execute("SELECT 1 FROM ingest.batch WHERE applied_at IS NOT NULL").fetchone())
        client.flushdb()
        postgres.execute("UPDATE ingest.batch SET applied_at = NULL, committed_at = now() - interval '1 minute'")
        # Then the sweep finds it
        eventually(lambda: postgres.execute("SELECT 1 FROM ingest.batch WHERE applied_at IS NOT NULL").fetchone())


def post(service: Processes) -> None:
    body = json.dumps(sample("HardwareStatusNotification.evse")).encode()
    answer = httpx.post(
        f"{service.url}/notifications/demo", content=body, headers={"X-Signature": sign(body, TOKEN)}, timeout=30
    )
    assert answer.status_code == 202
