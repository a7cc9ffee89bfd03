"""Who may take up a sync run, and when: leases that are renewed, sync runs that are put off, pauses, wake-ups."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import migrations
from runtime import leases
from storage.database import create_database_engine
from storage.sync import backfills, sync_runs
from storage.sync.sync_runs import SyncRun, SyncRunStats
from tests.support.deployment import Deployment
from tests.support.service import eventually
from workers import actors
from workers.actors import declare_actors
from workers.broker import create_broker, worker_middleware
from workers.sync import due_runs
from workers.sync.due_runs import run_due
from workers.sync.reconcile import sync_pages
from workers.sync.schedule import due_sync_runs
from workers.wake_ups import SYNC_RUN_AWAKE_MS, are_sync_runs_awake, awake_for_sync_runs, wake_sync_runs

INTERVAL = timedelta(minutes=15)
USERS = "users/v1.1"
SOME_TIME = datetime.fromisoformat("2026-03-04T00:00:00Z")


def take(deployment: Deployment, kind: str = "user", **options: Any) -> SyncRun | None:
    with deployment.service.engine.begin() as connection:
        return sync_runs.begin(connection, "demo", kind, "backfill", None, **options)


def must_take(deployment: Deployment, **options: Any) -> SyncRun:
    sync_run = take(deployment, **options)
    assert sync_run is not None
    return sync_run


def is_due(deployment: Deployment, kind: str = "user") -> bool:
    return any((one.tenant, one.kind) == ("demo", kind) for one in due_sync_runs(deployment.context, INTERVAL))


def empty_page(_request: Request) -> Response:
    return JSONResponse({"data": [], "links": {"next": None}})


def throttled(times: int, retry_after: int) -> Any:
    """Answers 429 so often, and then an empty page."""
    left = [times]

    def answer(request: Request) -> Response:
        if not left[0]:
            return empty_page(request)
        left[0] -= 1
        return JSONResponse({"message": "Too Many Attempts."}, 429, headers={"Retry-After": str(retry_after)})

    return answer


def test_a_lease_is_short_and_renewed_while_a_page_takes_long(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a page that AMPECO takes its time for
    monkeypatch.setattr(leases, "RENEW_INTERVAL_SECONDS", 0.05)
    may_answer = threading.Event()
    asked = threading.Event()

    def slowly(request: Request) -> Response:
        asked.set()
        may_answer.wait(60)
        return empty_page(request)

    deployment.ampeco.answers[USERS] = slowly
    sync_run = must_take(deployment)
    (first,) = deployment.service.query(
        "SELECT lease_expires_at, lease_expires_at - now() AS left FROM ingest.sync_run"
    )
    assert first["left"] <= timedelta(seconds=15)
    with ThreadPoolExecutor(1) as pool:
        syncing = pool.submit(lambda: list(sync_pages(deployment.context, sync_run, reason="backfill")))
        assert asked.wait(30)
        # While it is read, the lease is renewed
        renewed = "ingest.sync_run WHERE lease_expires_at > :first"
        eventually(lambda: deployment.service.query(f"SELECT 1 FROM {renewed}", first=first["lease_expires_at"]))
        assert take(deployment) is None
        may_answer.set()
        syncing.result(30)
    # And once it is finished, no lease is left, and none comes back
    (row,) = deployment.service.query("SELECT finished_at, lease_expires_at FROM ingest.sync_run")
    assert row["finished_at"] is not None
    assert row["lease_expires_at"] is None
    with deployment.service.engine.begin() as connection:
        sync_runs.renew(connection, sync_run)
    assert deployment.service.count("ingest.sync_run WHERE lease_expires_at IS NOT NULL") == 0


def test_a_sync_run_that_was_put_off_is_not_held(deployment: Deployment) -> None:
    # Given a sync run that is put off for an hour
    sync_run = must_take(deployment)
    with deployment.service.engine.begin() as connection:
        sync_runs.leave(connection, sync_run, delay=timedelta(hours=1), error="refused")
    assert deployment.service.count("ingest.sync_run WHERE lease_expires_at IS NOT NULL") == 0
    # Then it is not due, and workers leave it alone
    assert not is_due(deployment)
    assert take(deployment) is None
    # And a person who asks for it gets it at once, and nothing is left of the delay
    again = must_take(deployment, at_once=True)
    assert again.sync_run_id == sync_run.sync_run_id
    assert deployment.service.query("SELECT retry_at, last_error FROM ingest.sync_run") == [
        {"retry_at": None, "last_error": None}
    ]
    # And not even a person gets what another process has claimed
    assert take(deployment, at_once=True) is None


def test_a_sync_run_that_was_put_off_is_due_when_its_time_comes(deployment: Deployment) -> None:
    sync_run = must_take(deployment)
    with deployment.service.engine.begin() as connection:
        sync_runs.leave(connection, sync_run, delay=timedelta(0), error="refused")
    assert is_due(deployment)
    assert must_take(deployment).sync_run_id == sync_run.sync_run_id


def test_a_worker_keeps_its_sync_run_during_a_short_pause(deployment: Deployment) -> None:
    # Given a listing that is throttled for a second
    deployment.ampeco.answers[USERS] = throttled(2, retry_after=1)
    must_take(deployment)
    with deployment.service.engine.begin() as connection:
        connection.execute(text("UPDATE ingest.sync_run SET lease_expires_at = NULL"))
    # When a worker sync runs what is due, then one share is enough for all of it
    run_due(deployment.context, "demo", INTERVAL)
    assert deployment.ampeco.calls[USERS] == 3
    assert due_sync_runs(deployment.context, INTERVAL, ["demo"]) == []
    assert deployment.service.count("ingest.sync_run WHERE finished_at IS NULL AND retry_at IS NULL") == 0
    assert deployment.service.count("ingest.sync_run WHERE kind = 'user' AND finished_at IS NOT NULL") == 1


def test_a_sync_run_is_put_off_for_a_long_pause_and_for_no_longer(deployment: Deployment) -> None:
    deployment.ampeco.answers[USERS] = throttled(1, retry_after=100)
    must_take(deployment)
    with deployment.service.engine.begin() as connection:
        connection.execute(text("UPDATE ingest.sync_run SET lease_expires_at = NULL"))
    run_due(deployment.context, "demo", INTERVAL)
    (row,) = deployment.service.query("SELECT *, retry_at - now() AS left FROM ingest.sync_run WHERE kind = 'user'")
    assert (row["pages"], row["finished_at"], row["lease_expires_at"]) == (0, None, None)
    assert timedelta(seconds=30) < row["left"] <= timedelta(seconds=100)
    assert "429" in row["last_error"]


@pytest.mark.parametrize(
    ("without_progress", "least", "most"),
    [("0 s", 5, 15), ("2 minutes", 110, 130), ("1 day", 290, 300)],
)
def test_a_listing_that_fails_is_tried_again_after_as_long_as_it_has_failed(
    deployment: Deployment, without_progress: str, least: float, most: float
) -> None:
    # Given a listing that answers 500, and a sync run that has made no progress for some time
    deployment.ampeco.answers[USERS] = lambda _: JSONResponse({"message": "Server Error"}, 500)
    must_take(deployment)
    with deployment.service.engine.begin() as connection:
        connection.execute(
            text("UPDATE ingest.sync_run SET lease_expires_at = NULL, moved_at = now() - CAST(:idle AS interval)"),
            {"idle": without_progress},
        )
    run_due(deployment.context, "demo", INTERVAL)
    (row,) = deployment.service.query("SELECT retry_at - now() AS left FROM ingest.sync_run WHERE kind = 'user'")
    assert timedelta(seconds=least) < row["left"] <= timedelta(seconds=most)


def test_a_command_waits_for_any_pause_in_place(deployment: Deployment) -> None:
    deployment.ampeco.answers[USERS] = throttled(1, retry_after=100)
    waits: list[float] = []

    def wait(seconds: float, _why: str) -> None:
        waits.append(seconds)
        assert take(deployment, at_once=True) is None  # it stays claimed
        deployment.context.redis.flushdb()  # as if the pause were over

    sync_run = must_take(deployment)
    assert [one.pages for one in sync_pages(deployment.context, sync_run, reason="backfill", wait=wait)] == [1]
    assert waits == [100.0]


def test_a_tenant_is_woken_again_once_its_worker_is_done_or_dead(deployment: Deployment) -> None:
    broker = create_broker(deployment.context.redis)

    def wake() -> int:
        return wake_sync_runs(deployment.context, broker, INTERVAL)

    # Given two tenants with sync runs of both parts due, which are woken once
    assert wake() == 4
    assert wake() == 0
    # While a worker is at a part, no other is woken for it, nor for a while after it was killed
    with awake_for_sync_runs(deployment.context.redis, "demo", "others"):
        assert wake() == 0
        key = "ampeco-receiver:sync-run-woken:others:demo"
        assert 0 < int(deployment.context.redis.pttl(key)) <= SYNC_RUN_AWAKE_MS
        # And the other part is woken as soon as its own worker is done
        with awake_for_sync_runs(deployment.context.redis, "demo", "statuses"):
            assert wake() == 0
        assert wake() == 1
    # And once it is done, what is still due is woken by the next sweep
    assert wake() == 1


def test_the_sync_runs_of_one_tenant_are_looked_up_for_that_tenant_alone(deployment: Deployment) -> None:
    looked_up: list[list[str]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if "FROM ingest.sync_cursor" in statement:
            looked_up.append(parameters["tenants"])

    event.listen(deployment.context.engine, "before_cursor_execute", note)
    for kind in ("location", "charge_point", "evse"):
        deployment.ampeco.answers[f"{kind}s"] = empty_page
    run_due(deployment.context, "demo", INTERVAL)
    assert looked_up
    assert all(tenants == ["demo"] for tenants in looked_up)
    assert due_sync_runs(deployment.context, INTERVAL, ["no longer configured"]) == []


def test_what_another_process_synced_since_is_not_synced_again(deployment: Deployment) -> None:
    # Given a worker that comes to the users after another process has synced them
    synced: list[str] = []

    def locations(request: Request) -> Response:
        if not synced:
            synced.append("user")
            sync_run = must_take(deployment)
            with deployment.service.engine.begin() as connection:
                assert sync_runs.move(connection, sync_run, SyncRunStats(), began_at=datetime.now(UTC), following=None)
        return empty_page(request)

    deployment.ampeco.answers["locations/v2.0"] = locations
    deployment.ampeco.answers[USERS] = empty_page
    run_due(deployment.context, "demo", INTERVAL)
    assert synced
    assert deployment.service.count("ingest.sync_run WHERE kind = 'user'") == 1


class TestRequests:
    """A backfill that is run again belongs to the same request, until a person asks for a new one."""

    @staticmethod
    def request(deployment: Deployment, since: datetime | None = None, *, again: bool = False) -> datetime:
        with deployment.service.engine.begin() as connection:
            return backfills.request(connection, "demo", since, again=again)

    @staticmethod
    def is_finished(deployment: Deployment, requested_at: datetime) -> bool:
        with deployment.service.engine.begin() as connection:
            return backfills.is_finished(connection, "demo", "user", requested_at)

    def test_it_is_the_same_after_a_kill_and_after_its_end(self, deployment: Deployment) -> None:
        deployment.ampeco.answers[USERS] = empty_page
        first = self.request(deployment)
        sync_run = must_take(deployment, requested_at=first)
        assert self.request(deployment) == first
        assert not self.is_finished(deployment, first)
        list(sync_pages(deployment.context, sync_run, reason="backfill"))
        assert self.request(deployment) == first
        assert self.is_finished(deployment, first)
        # And another one where another extent, or everything again, is asked for
        assert self.request(deployment, SOME_TIME) > first
        again = self.request(deployment, again=True)
        assert again > first
        assert not self.is_finished(deployment, again)

    def test_a_sync_run_that_a_worker_began_counts_where_it_reads_the_same(self, deployment: Deployment) -> None:
        sync_run = must_take(deployment)
        with deployment.service.engine.begin() as connection:
            sync_runs.leave(connection, sync_run)
        first = self.request(deployment)
        assert must_take(deployment, requested_at=first).requested_at == first
        # But it stays with the request that it came to first
        with deployment.service.engine.begin() as connection:
            sync_runs.leave(connection, sync_run)
        assert must_take(deployment, requested_at=self.request(deployment, again=True)).requested_at == first

    def test_a_sync_run_of_another_extent_does_not_count(self, deployment: Deployment) -> None:
        with deployment.service.engine.begin() as connection:
            sync_run = sync_runs.begin(connection, "demo", "user", "reconcile", None)
            assert sync_run is not None
            sync_runs.leave(connection, sync_run)
        taken = must_take(deployment, requested_at=self.request(deployment))
        assert (taken.sync_run_id, taken.requested_at) == (sync_run.sync_run_id, None)


def test_sync_runs_of_an_older_release_that_were_put_off_stay_put_off(empty_database_url: str) -> None:
    engine = create_database_engine(empty_database_url, application_name="tests", pool_size=1)
    migrations.upgrade(engine, "0009")
    rows = text(
        "SELECT kind, lease_expires_at > now() AS held, retry_at > now() AS put_off FROM ingest.walk ORDER BY kind"
    )
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO ingest.walk (tenant, walk_id, kind, purpose, lease_expires_at, last_error)
                VALUES ('demo', gen_random_uuid(), 'evse', 'reconcile', now() + interval '5 minutes', NULL),
                       ('demo', gen_random_uuid(), 'user', 'reconcile', now() + interval '1 hour', '403')
            """)
        )
    migrations.upgrade(engine, "0010")
    with engine.begin() as connection:
        assert connection.execute(rows).all() == [("evse", True, None), ("user", None, True)]
    migrations.downgrade(engine, "0009")
    with engine.begin() as connection:
        held = connection.execute(text("SELECT count(*) FROM ingest.walk WHERE lease_expires_at > now()")).scalar_one()
    assert held == 2
    engine.dispose()


def test_a_worker_of_other_kinds_waits_while_another_one_syncs_statuses(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_runs, "PATIENCE_SECONDS", 0.6)
    broker = create_broker(deployment.context.redis, worker_middleware())
    declare_actors(broker, deployment.context, deployment.service.settings)
    calls_when_asked: list[int] = []

    def asked(*arguments: Any) -> bool:
        calls_when_asked.append(deployment.ampeco.calls.total())
        return are_sync_runs_awake(*arguments)

    monkeypatch.setattr(actors, "are_sync_runs_awake", asked)
    with awake_for_sync_runs(deployment.context.redis, "demo", "statuses"):
        broker.get_actor("reconcile").fn("demo", "others")
    # It made no call until its patience was over
    assert calls_when_asked == [0, 0, 0]
    assert deployment.ampeco.calls.total() > 0
    # And the one that syncs statuses does not ask
    with awake_for_sync_runs(deployment.context.redis, "demo", "statuses"):
        broker.get_actor("reconcile").fn("demo", "statuses")
    assert len(calls_when_asked) == 3
