"""Ready means "can accept", is answered soon whatever the servers do, and says what is wrong in one sentence."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, make_url, text

from receiver.accept.committer import GroupCommitter
from receiver.admin.readiness import receiver_readiness
from runtime.checks import create_check_engine
from runtime.readiness import problem_of
from tests.support.address import moving_address
from tests.support.clock import WrongClock
from tests.support.facts import sample
from tests.support.servers import own_postgres, standby_of
from tests.support.service import Service, eventually, serving
from workers.broker import create_redis


@pytest.fixture
def service(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Service]:
    """A receiver with a database and a Redis of its own."""
    with serving(database_url, redis_url, tmp_path) as running:
        yield running


BODY = sample("HardwareStatusNotification.evse")


def status_of(service: Service) -> int:
    return service.client.get("/readyz").status_code


def check(service: Service, name: str) -> dict[str, Any]:
    found: dict[str, Any] = service.admin.get("/readyz").json()["checks"][name]
    return found


def assert_shown(service: Service, name: str, words: str) -> None:
    """Assert that operators are shown these words; their listener makes its own checks, up to a second later."""
    eventually(lambda: words in check(service, name)["detail"])


def execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_a_redis_that_is_down_is_shown_and_keeps_nothing_from_being_accepted(database_url: str, tmp_path: Path) -> None:
    with serving(database_url, "redis://127.0.0.1:1/0", tmp_path) as service:
        shown = service.admin.get("/readyz")
        assert (shown.status_code, shown.json()["status"]) == (200, "ready")
        redis_check = shown.json()["checks"]["redis"]
        assert (redis_check["ok"], redis_check["required"]) == (False, False)
        assert "Connection refused" in redis_check["detail"]
        assert "REDIS_URL" in redis_check["advice"]
        eventually(lambda: status_of(service) == 200)
        assert service.post(BODY).status_code == 202


def test_after_a_migration_receivers_of_the_old_release_are_ready_as_long_as_they_can_accept(service: Service) -> None:
    # Given tables that a later release migrated
    execute(service.engine, "UPDATE ingest.alembic_version SET version_num = '9999'")
    eventually(lambda: not check(service, "migrations")["ok"])
    # Then what accepts is ready, and the advice is to upgrade it
    eventually(lambda: status_of(service) == 200)
    assert service.post(BODY).status_code == 202
    assert check(service, "migrations")["advice"].startswith("upgrade this process")
    # The other way round, the advice is to migrate
    execute(service.engine, "UPDATE ingest.alembic_version SET version_num = '0001'")
    eventually(lambda: "ampeco-receiver migrate" in check(service, "migrations")["advice"])
    eventually(lambda: status_of(service) == 200)
    # A log that this release cannot write to is another matter
    execute(service.engine, "ALTER TABLE ingest.notification RENAME COLUMN token_id TO key_id")
    eventually(lambda: status_of(service) == 503)
    assert_shown(service, "log", 'column "token_id"')
    execute(service.engine, "ALTER TABLE ingest.notification RENAME COLUMN key_id TO token_id")
    eventually(lambda: status_of(service) == 200)


def test_a_receiver_without_the_right_to_add_to_the_log_is_not_ready(
    database_url: str, engine: Engine, redis_url: str, tmp_path: Path
) -> None:
    owner = make_url(database_url)
    name = f"service_of_{owner.database}"
    execute(engine, f"CREATE ROLE {name} LOGIN IN ROLE ampeco_receiver_service")
    try:
        url = owner.set(username=name).render_as_string(hide_password=False)
        with serving(url, redis_url, tmp_path) as service:
            eventually(lambda: status_of(service) == 200)
            execute(engine, "REVOKE INSERT ON ingest.notification FROM ampeco_receiver_service")
            eventually(lambda: status_of(service) == 503)
            assert_shown(service, "log", "permission denied for table notification")
    finally:
        execute(engine, f"DROP ROLE {name}")


def test_a_database_that_does_not_answer_keeps_no_one_waiting_and_is_noticed_when_it_does(
    prepared: Path, redis_url: str, tmp_path: Path
) -> None:
    with own_postgres(like=prepared) as postgres, serving(postgres.url, redis_url, tmp_path) as service:
        eventually(lambda: status_of(service) == 200)
        # When the server stands still, with connections open
        postgres.pause()
        # Then everybody is answered, well before any connection is given up, by one look that waits
        with httpx.Client(base_url=service.url, timeout=10) as impatient:
            eventually(lambda: impatient.get("/readyz").status_code == 503)
            assert {impatient.get("/readyz").status_code for _ in range(20)} == {503}
        assert_shown(service, "postgres", "no answer within")
        looks = [thread for thread in threading.enumerate() if thread.name == "check postgres"]
        assert len(looks) <= 2, "one for each listener"
        # When it resumes, then so does everything
        postgres.resume()
        eventually(lambda: status_of(service) == 200)
        assert service.post(BODY).status_code == 202


def test_a_standby_is_not_ready_until_its_address_leads_to_a_primary(
    prepared: Path, redis_url: str, tmp_path: Path
) -> None:
    with (
        own_postgres(like=prepared) as primary,
        standby_of(primary) as standby,
        moving_address(primary.socket) as address,
    ):
        url = f"postgresql://postgres@127.0.0.1:{address.port}/receiver"
        with serving(url, redis_url, tmp_path) as service:
            eventually(lambda: status_of(service) == 200)
            address.move(standby.socket, cut=True)
            eventually(lambda: status_of(service) == 503)
            assert_shown(service, "postgres", "standby")
            address.move(primary.socket, cut=True)
            eventually(lambda: status_of(service) == 200)


@contextlib.contextmanager
def commits_held(engine: Engine) -> Iterator[None]:
    """Hold up what writes a row to the log, and nothing else."""
    execute(
        engine,
        """
        CREATE FUNCTION ingest.wait() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END $$;
        CREATE TRIGGER wait BEFORE INSERT ON ingest.batch FOR EACH ROW EXECUTE FUNCTION ingest.wait()
        """,
    )
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(42)"))
        yield


def test_a_full_waiting_room_takes_a_receiver_out_of_the_balancer(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with serving(database_url, redis_url, tmp_path, waiting_room=2) as service, ThreadPoolExecutor(2) as pool:
        with commits_held(service.engine):
            answers = [pool.submit(service.post, BODY) for _ in range(2)]
            eventually(lambda: status_of(service) == 503)
            eventually(lambda: not check(service, "waiting room")["ok"])
        assert {answer.result().status_code for answer in answers} == {202}
        eventually(lambda: status_of(service) == 200)


def test_a_commit_that_fails_is_the_reason_until_one_succeeds(service: Service) -> None:
    execute(
        service.engine,
        """
        CREATE FUNCTION ingest.fill() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER fill BEFORE INSERT ON ingest.batch FOR EACH ROW EXECUTE FUNCTION ingest.fill()
        """,
    )
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.post, BODY)
        eventually(lambda: status_of(service) == 503)
        listed = eventually(
            lambda: service.query("SELECT problem FROM ingest.process WHERE name = 'serve' AND problem IS NOT NULL")
        )
        assert "No space left on device" in listed[0]["problem"]
        execute(service.engine, "DROP TRIGGER fill ON ingest.batch")
        eventually(lambda: service.post(BODY).status_code == 202)
        assert answer.result().status_code in {202, 503}
    eventually(lambda: status_of(service) == 200)


def test_a_log_without_a_partition_for_today_is_not_ready_where_none_can_be_made(service: Service) -> None:
    partitions = service.query(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'ingest.notification'::regclass"
    )
    # Given that one can be made, then it is, as on the accept path
    for partition in partitions:
        execute(service.engine, f"DROP TABLE {partition['name']}")
    eventually(lambda: service.count("pg_inherits WHERE inhparent = 'ingest.notification'::regclass") > 0)
    eventually(lambda: status_of(service) == 200)
    # Given that none can be made
    for partition in partitions:
        execute(service.engine, f"DROP TABLE IF EXISTS {partition['name']}")
    execute(service.engine, "DROP FUNCTION ingest.make_log_partitions")
    # Then it is said
    eventually(lambda: status_of(service) == 503)
    assert_shown(service, "log", "has no partition for")


def test_a_committer_whose_task_ended_is_not_ready(database_url: str, redis_url: str) -> None:
    async def run() -> tuple[str | None, str | None]:
        committer = GroupCommitter(
            database_url,
            lambda _groups: None,
            commit_timeout=timedelta(seconds=5),
            waiting_room=10,
            waiting_bytes=1_000,
        )
        with create_redis(redis_url) as client:
            engine = create_check_engine(database_url, process="tests")
            readiness = receiver_readiness(engine, client, committer)
            committer.start()
            before = problem_of(await asyncio.to_thread(readiness.checks))
            committer._tasks[0].cancel()
            await asyncio.wait(committer._tasks[:1])
            await asyncio.sleep(1.1)  # an answer is good for a second
            after = problem_of(await asyncio.to_thread(readiness.checks))
            committer._tasks[1].cancel()
            engine.dispose()
        return before, after

    before, after = asyncio.run(run())
    assert before is None
    assert after is not None
    assert "the task that commits has ended" in after


def test_a_clock_that_differs_from_postgres_is_named(database_url: str, tmp_path: Path) -> None:
    clock = WrongClock(tmp_path / "clock")
    code = """
import sys
from runtime.checks import create_check_engine, look_at_postgres
engine = create_check_engine(sys.argv[1], process="tests")
print(look_at_postgres(engine)["clock"].detail)
engine.dispose()
"""
    for offset, expected in ((0, "agrees"), (2, "ahead of"), (-2, "behind")):
        clock.set(timedelta(hours=offset))
        shown = subprocess.run(
            [sys.executable, "-c", code, database_url],
            env=os.environ | clock.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert expected in shown.stdout
