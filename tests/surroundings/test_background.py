"""No task and no thread ends unseen: it is started again, or its process ends and is started again."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import httpx
import prometheus_client
import psycopg
import pytest
from sqlalchemy import Engine, QueuePool, make_url, text

import migrations
import storage.database
from receiver.accept.committer import GroupCommitter
from receiver.accept.heartbeat import UptimeHeartbeat
from receiver.admin.app import AdminServer
from runtime.admin_port import open_admin_listener
from runtime.background import supervised_task, supervised_thread, wait_while_alive
from runtime.clock_watch import ClockWatch
from runtime.settings import Settings
from storage.database import DatabaseEncodingError, create_database_engine
from storage.database_url import conninfo
from storage.inbox.commit import CommitGroup, Entry
from storage.inbox.partitions import make_partitions
from tests.support.service import eventually, url_of, write_tenants
from workers.broker import create_redis

#: Letters that LATIN1 has no place for.
FOREIGN = b'{"notification": "\\u041f\\u043b.changed", "x": 1}'


def failures(task: str) -> float:
    return prometheus_client.REGISTRY.get_sample_value("ampeco_background_failures_total", {"task": task}) or 0.0


class Flaky:
    """Fails so many times, then returns."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.runs = 0

    def __call__(self) -> None:
        self.runs += 1
        if self.runs <= self.times:
            raise UnicodeEncodeError("latin-1", "ł", 0, 1, "a defect")

    async def run(self) -> None:
        self()


def test_a_beat_that_is_under_way_ends_before_its_connection_is_closed(engine: Engine, redis_url: str) -> None:
    beating = create_database_engine(url_of(engine), application_name="tests", pool_size=1)
    assert isinstance(beating.pool, QueuePool)
    pool = beating.pool

    async def stop_amid_a_beat() -> None:
        with engine.begin() as holder, create_redis(redis_url) as client:
            holder.execute(text("LOCK TABLE ingest.uptime IN ACCESS EXCLUSIVE MODE"))
            heartbeat = UptimeHeartbeat(beating, [], ClockWatch(client))
            heartbeat.start()
            while pool.checkedout() == 0:  # noqa: ASYNC110 - the pool says of nothing when it happens
                await asyncio.sleep(0.01)
            stopping = asyncio.create_task(heartbeat.stop())
            _, waiting = await asyncio.wait({stopping}, timeout=0.2)
            holder.rollback()
            await stopping
        assert waiting, "it stopped in the middle of a beat"
        assert pool.checkedout() == 0

    asyncio.run(stop_amid_a_beat())
    beating.dispose()


def test_a_thread_that_fails_is_counted_and_started_again() -> None:
    flaky, before = Flaky(2), failures("flaky thread")
    thread = supervised_thread("flaky thread", flaky)
    thread.start()
    thread.join(30)
    assert (flaky.runs, failures("flaky thread") - before) == (3, 2)


def test_a_task_that_fails_is_counted_and_started_again() -> None:
    flaky, before = Flaky(2), failures("flaky task")

    async def run() -> None:
        await supervised_task("flaky task", flaky.run)

    asyncio.run(run())
    assert (flaky.runs, failures("flaky task") - before) == (3, 2)


def test_a_task_that_is_cancelled_is_not_started_again() -> None:
    async def run() -> None:
        task = supervised_task("endless task", asyncio.Event().wait)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_process_notices_that_a_thread_of_a_library_ended() -> None:
    stop, lives, ends = (
        threading.Event(),
        threading.Thread(target=threading.Event().wait, daemon=True),
        threading.Thread(),
    )
    lives.start()
    ends.start()
    assert wait_while_alive(stop, [lives, ends]) is False
    stop.set()
    assert wait_while_alive(stop, [lives]) is True


DYING = """
from dramatiq.worker import WorkerThread
from workers.process import work
from runtime.settings import load_settings

WorkerThread.run = lambda self: None
work(load_settings(), {"apply"})
"""


#: A message was waiting when the process started, so a thread that renews its lease lives as soon as the worker does.
WITH_A_MESSAGE_AT_ONCE = """
import threading
from dramatiq import Worker
from runtime.leases import renewed
from workers.process import work
from runtime.settings import load_settings

class StopAfterSomeChecks(threading.Event):
    checks = 0

    def wait(self, timeout=None):
        self.checks += 1
        if self.checks == 1:
            lease.__exit__(None, None, None)
        return self.checks == 3

def start(worker):
    lease.__enter__()
    start_threads(worker)

lease = renewed(lambda: None)
start_threads, Worker.start = Worker.start, start
work(load_settings(), {"apply"}, StopAfterSomeChecks())
"""


@pytest.fixture
def run_work(database_url: str, redis_url: str, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    settings = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "TENANTS_FILE": str(write_tenants(tmp_path))}
    return lambda code: subprocess.run(
        [sys.executable, "-c", code], env=os.environ | settings, capture_output=True, text=True, check=False
    )


def test_a_work_process_whose_thread_ended_leaves_to_be_started_again(
    run_work: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    ended = run_work(DYING)
    assert ended.returncode == 1, ended.stderr
    assert "a thread ended" in ended.stdout


def test_a_work_process_stays_when_the_first_message_ends(
    run_work: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    ended = run_work(WITH_A_MESSAGE_AT_ONCE)
    assert (ended.returncode, "a thread ended" in ended.stdout) == (0, False), ended.stdout + ended.stderr


def test_the_admin_endpoints_come_back_when_their_server_ends(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = Settings(database_url=database_url, redis_url=redis_url, tenants_file=write_tenants(tmp_path))
    listeners = open_admin_listener(settings, 0, setting="RECEIVER_ADMIN_PORT")
    url = f"http://127.0.0.1:{listeners[0].getsockname()[1]}/healthz"
    pages, before = AdminServer(settings, listeners), failures("operators")
    thread = supervised_thread("operators", pages.run)
    thread.start()
    eventually(lambda: answers(url))
    assert pages._server is not None
    pages._server.should_exit = True
    eventually(lambda: failures("operators") > before and answers(url))
    pages.stop()
    thread.join(30)
    for listener in listeners:
        listener.close()
    assert not thread.is_alive()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).is_success
    except httpx.TransportError:
        return False


def committer(url: str, on_commit: object = None) -> GroupCommitter:
    return GroupCommitter(
        url,
        on_commit or (lambda _groups: None),  # type: ignore[arg-type]
        commit_timeout=timedelta(seconds=10),
        waiting_room=100,
        waiting_bytes=10**6,
    )


def test_the_committer_continues_after_an_unexpected_failure(database_url: str) -> None:
    notified: list[int] = []

    def notify(groups: Sequence[CommitGroup]) -> None:
        notified.append(len(groups))
        if len(notified) == 1:
            raise RuntimeError("a defect")

    async def run() -> None:
        accepting = committer(database_url, notify)
        accepting.start()
        for _ in range(3):
            await accepting.commit(Entry("demo", b"{}", {}, "token", "hex"))
        await accepting.stop()

    before = failures("committer")
    asyncio.run(run())
    assert len(notified) == 3
    assert failures("committer") - before == 1


@pytest.fixture
def latin1_url(servers: tuple[str, str]) -> Iterator[str]:
    """An empty database that cannot hold every letter."""
    name = f"rt_{os.getpid()}_latin1"
    with psycopg.connect(conninfo(servers[0]), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING LATIN1 LOCALE 'C' TEMPLATE template0".encode())
        yield make_url(servers[0]).set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_a_name_that_the_database_cannot_hold_ends_neither_the_committer_nor_its_notification(
    latin1_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a database that an older release migrated
    engine = create_database_engine(latin1_url, application_name="tests", pool_size=1)
    monkeypatch.setattr(storage.database, "require_utf8", lambda _connection: None)
    migrations.upgrade(engine)
    make_partitions(engine)

    async def run() -> None:
        accepting = committer(latin1_url)
        accepting.start()
        for body in (FOREIGN, b'{"notification": "evse.changed"}'):
            await accepting.commit(Entry("demo", body, {"X-Tenant": "1"}, "token", "hex"))
        await accepting.stop()

    asyncio.run(run())
    with engine.connect() as connection:
        found = connection.execute(text("SELECT body, notification_type FROM ingest.notification ORDER BY received_at"))
        assert [tuple(row) for row in found] == [(FOREIGN, None), (b'{"notification": "evse.changed"}', "evse.changed")]
    engine.dispose()


def test_a_database_that_cannot_hold_every_letter_is_refused(latin1_url: str, redis_url: str, tmp_path: Path) -> None:
    engine = create_database_engine(latin1_url, application_name="tests", pool_size=1)
    with pytest.raises(DatabaseEncodingError, match="LATIN1"):
        migrations.upgrade(engine)
    engine.dispose()
    settings = {"DATABASE_URL": latin1_url, "REDIS_URL": redis_url, "TENANTS_FILE": str(write_tenants(tmp_path))}
    for command in ("migrate", "serve"):
        ended = subprocess.run(
            [sys.executable, "-m", "receiver", command],
            env=os.environ | settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 2, ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1
        assert "LATIN1" in ended.stderr
