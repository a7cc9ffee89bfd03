"""Any process may die at any instant: nothing acknowledged is lost, and nothing has its effect twice."""

from __future__ import annotations

import signal
import time

import psycopg
import pytest
import redis
from sqlalchemy import text

from tests.support.processes import end
from tests.support.trial import Ground

#: A killed worker's batches are free again when their leases end; see storage.batches.LEASE.
pytestmark = pytest.mark.timeout(400)


def test_a_killed_receiver_loses_nothing_that_it_acknowledged(ground: Ground) -> None:
    with ground.load("kill -9 the receiver") as load:
        # Once at work, and once while what it was sent is not committed yet
        end(ground.receiver)
        receiver = ground.service.serve()
        load.sender.wait_for(50)
        ground.postgres.pause()
        time.sleep(0.5)
        end(receiver)
        ground.postgres.resume()
        ground.service.serve()


def test_a_receiver_that_is_stopped_answers_all_that_it_committed(ground: Ground) -> None:
    with ground.load("SIGTERM the receiver") as load:
        assert end(ground.receiver, signal.SIGTERM) == 0
        ground.service.serve()
    # Every notification that was committed was answered.
    with ground.engine.connect() as connection:
        logged = set(map(str, connection.execute(text("SELECT notification_id FROM ingest.notification")).scalars()))
    assert logged == set(load.sender.ledger)
    assert set(load.sender.answers) <= {202, 0}


@pytest.mark.long
def test_a_killed_workers_batches_are_applied_by_another(ground: Ground) -> None:
    ground.service.work()
    with ground.load("kill -9 a worker, under work"):
        kill_at_work(ground, ground.worker)
        ground.service.work()


@pytest.mark.long
def test_when_all_workers_are_killed_what_waits_is_applied_by_their_successors(ground: Ground) -> None:
    others = [ground.service.work(), ground.service.work("refresh")]
    with ground.load("kill -9 all workers") as load:
        kill_at_work(ground, ground.worker)
        for worker in others:
            end(worker)
        load.sender.wait_for(200)
        ground.service.work()


@pytest.mark.long
def test_a_worker_that_is_stopped_leaves_no_batch_half_done(ground: Ground) -> None:
    with ground.load("SIGTERM a worker") as load:
        assert end(ground.worker, signal.SIGTERM) == 0
        with ground.engine.connect() as connection:
            statement = "SELECT count(*) FROM ingest.batch WHERE applied_at IS NULL AND lease_expires_at > now()"
            assert connection.execute(text(statement)).scalar_one() == 0
        load.sender.wait_for(50)
        ground.service.work()


@pytest.mark.long
def test_a_killed_redis_that_comes_back_empty_costs_nothing(ground: Ground) -> None:
    with ground.load("kill -9 Redis, back empty") as load:
        ground.redis.kill()
        load.sender.wait_for(50)
        ground.redis.start()
        with redis.Redis.from_url(ground.redis.url) as client:
            client.flushdb()


@pytest.mark.long
def test_a_minute_without_redis_holds_up_the_applying_and_nothing_else(ground: Ground) -> None:
    with ground.load("stop Redis for 60 s") as load:
        ground.redis.stop()
        time.sleep(60)
        assert set(load.sender.answers) == {202}
        ground.redis.start()


@pytest.mark.long
def test_a_killed_postgres_keeps_what_was_acknowledged(ground: Ground) -> None:
    with ground.load("kill -9 Postgres") as load:
        ground.postgres.kill()
        time.sleep(1)
        ground.postgres.start()
        load.sender.wait_for(50)
    # And no batch that a worker had claimed waited for its lease to run out
    assert "batches stay leased" not in ground.service.log.read_text()


@pytest.mark.long
def test_half_a_minute_without_postgres_turns_senders_away_and_loses_nothing(ground: Ground) -> None:
    with ground.load("stop Postgres for 30 s") as load:
        ground.postgres.stop()
        time.sleep(30)
        assert load.sender.answers[503] > 0
        ground.postgres.start()


@pytest.mark.long
@pytest.mark.parametrize("which", ["the receiver", "a worker", "Redis", "Postgres"])
def test_a_process_that_is_paused_continues_where_it_was(ground: Ground, which: str) -> None:
    with ground.load(f"pause {which} for 20 s"):
        if which in ("Redis", "Postgres"):
            server = ground.redis if which == "Redis" else ground.postgres
            server.pause()
            time.sleep(20)
            server.resume()
        else:
            process = ground.receiver if which == "the receiver" else ground.worker
            process.send_signal(signal.SIGSTOP)
            time.sleep(20)
            process.send_signal(signal.SIGCONT)


@pytest.mark.long
def test_a_worker_that_is_paused_past_its_lease_does_nothing_twice(ground: Ground) -> None:
    ground.service.work()
    with ground.load("pause a worker past its lease"):
        ground.worker.send_signal(signal.SIGSTOP)
        time.sleep(45)
        ground.worker.send_signal(signal.SIGCONT)


@pytest.mark.long
def test_a_postgres_without_a_free_connection_turns_senders_away_until_there_is_one(ground: Ground) -> None:
    with ground.load("no connection free") as load:
        taken: list[psycopg.Connection[tuple[object, ...]]] = []
        with ground.postgres.connect() as keeper:
            # When every connection is taken, and ours are cut
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline:
                try:
                    taken.append(ground.postgres.connect())
                except psycopg.OperationalError:
                    keeper.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name LIKE 'ampeco-receiver %'"
                    )
                    time.sleep(0.05)
            assert load.sender.answers[503] > 0
        for connection in taken:
            connection.close()


def kill_at_work(ground: Ground, worker: object) -> None:
    """Kill a worker while it has claimed batches, if it is seen with any within 10 s."""
    statement = text("SELECT EXISTS (SELECT FROM ingest.batch WHERE applied_at IS NULL AND lease_expires_at > now())")
    deadline = time.monotonic() + 10
    with ground.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while time.monotonic() < deadline and not connection.execute(statement).scalar_one():
            pass
    end(worker)  # type: ignore[arg-type]
