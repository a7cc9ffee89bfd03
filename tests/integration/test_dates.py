"""What a notification is dated by, and that a date without a partition neither refuses it nor floods Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine, text

from receiver.accept import committer as module
from receiver.accept.committer import GroupCommitter, NotCommittedError
from storage import ids
from storage.clock import Clock
from storage.clock import clock as process_clock
from storage.ids import made_at
from storage.inbox import commit as inbox
from storage.inbox.commit import Entry

FAR = {"days behind": timedelta(days=-3), "days ahead": timedelta(days=9)}


def run(database_url: str, work: Callable[[GroupCommitter], Awaitable[None]], *, timeout_seconds: float = 30) -> None:
    async def started() -> None:
        committer = GroupCommitter(
            database_url,
            lambda _groups: None,
            commit_timeout=timedelta(seconds=timeout_seconds),
            waiting_room=10,
            waiting_bytes=10_000,
        )
        committer.start()
        await work(committer)
        await committer.stop()

    asyncio.run(started())


def entry(tenant: str = "demo") -> Entry:
    return Entry(tenant, b'{"notification":"x"}', {}, "token", "hex")


def dated(moment: datetime, tenant: str = "demo") -> Entry:
    """An entry of another time, as by a Postgres whose clock was set since."""
    found = entry(tenant)
    milliseconds = int(moment.timestamp() * 1000)
    found.notification_id = UUID(int=milliseconds << 80 | found.notification_id.int & (1 << 80) - 1)
    found.received_at = made_at(found.notification_id)
    return found


def failures() -> float:
    return REGISTRY.get_sample_value("ampeco_commit_failures_total", {"error": "CheckViolation"}) or 0.0


@pytest.mark.parametrize("far", FAR)
def test_a_date_without_a_partition_is_set_right_and_committed_once(
    database_url: str, engine: Engine, far: str
) -> None:
    astray = [dated(datetime.now(UTC) + FAR[far]), dated(datetime.now(UTC) + FAR[far]), entry("other")]
    before = failures()

    async def work(committer: GroupCommitter) -> None:
        await asyncio.gather(*(committer.commit(one) for one in astray))

    run(database_url, work)
    # Then it took one try more, and each is in the log once, by the id that its sender is answered
    assert failures() - before <= 2
    with engine.connect() as connection:
        rows = connection.execute(
            text("""
                SELECT notification_id, received_at BETWEEN first_received_at AND last_received_at AS is_in_its_batch,
                       abs(extract(epoch FROM committed_at - received_at)) < 40 AS is_right
                  FROM ingest.notification
                  JOIN ingest.batch USING (tenant, batch_id)
            """)
        ).all()
    assert {row.notification_id for row in rows} == {one.notification_id for one in astray}
    assert len(rows) == 3
    assert all(row.is_in_its_batch and row.is_right for row in rows)


def test_a_date_whose_partition_cannot_be_made_is_refused_without_haste(database_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP FUNCTION ingest.make_log_partitions(integer)"))
        for name in connection.execute(
            text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ingest.notification'::regclass")
        ).scalars():
            connection.execute(text(f"DROP TABLE {name}"))
    before = failures()

    async def work(committer: GroupCommitter) -> None:
        with pytest.raises(NotCommittedError):
            await committer.commit(entry())

    run(database_url, work, timeout_seconds=2)
    assert failures() - before < 10


def test_what_came_before_postgres_was_there_is_dated_by_it(
    database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process that has not reached Postgres yet, on a machine whose clock is two days ahead
    clock, now_ns = Clock(), process_clock.now_ns
    monkeypatch.setattr(clock, "now_ns", lambda: now_ns() if clock.is_measured else now_ns() + 2 * 86_400 * 10**9)
    for one in (ids, inbox, module):
        monkeypatch.setattr(one, "clock", clock)
    early = [entry(), entry()]
    assert early[0].received_at - datetime.now(UTC) > timedelta(days=1)

    async def work(committer: GroupCommitter) -> None:
        await asyncio.gather(*(committer.commit(one) for one in early))

    run(database_url, work)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT notification_id, received_at FROM ingest.notification")).all()
    assert {tuple(row) for row in found} == {(one.notification_id, one.received_at) for one in early}
    assert all(abs(one.received_at - datetime.now(UTC)) < timedelta(hours=1) for one in early)


def test_ids_are_kept_once_they_may_have_been_committed(database_url: str, engine: Engine) -> None:
    sent = entry()
    before = sent.notification_id

    async def work(committer: GroupCommitter) -> None:
        await committer.commit(entry())
        connection = await committer._connected()
        # Given a commit that is tried again over another connection
        await connection.close()
        await committer.commit(sent)

    run(database_url, work)
    assert sent.notification_id == before
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM ingest.notification")).scalar_one() == 2
