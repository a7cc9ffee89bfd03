"""A tail of the log returns each notification once, however late it is committed, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine

from storage.clock import clock
from storage.inbox.commit import CommitGroup, Entry, commit_groups
from storage.log import follow
from storage.log.follow import Selection, Tail
from tests.support.facts import sample
from tests.support.log import accept, execute
from tests.support.service import url_of
from workers.apply.apply import apply_open_batches

OVERLAP = timedelta(seconds=10)

SELECTION = Selection(("t",))


def received(body: dict[str, Any], tenant: str = "t") -> Entry:
    """Return a notification that arrived now and is committed later."""
    return Entry(tenant, json.dumps(body).encode(), {}, "token", "hex")


def commit(engine: Engine, entry: Entry) -> None:
    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(url_of(engine), autocommit=True) as connection:
            await commit_groups(connection, [CommitGroup(entry.tenant, [entry])])

    asyncio.run(run())


def ids(engine: Engine, log: Tail) -> list[UUID]:
    with engine.connect() as connection:
        return [notification.notification_id for notification in log.poll(connection)]


@pytest.fixture
def began_at(engine: Engine) -> datetime:
    """A moment before everything that the test sends, by Postgres's clock."""
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    return clock.now() - timedelta(seconds=1)


def test_each_notification_is_returned_once(engine: Engine, began_at: datetime) -> None:
    log = Tail(SELECTION, began_at, OVERLAP)
    first = accept(engine, sample("evse.changed"), sample("circuit.changed"))
    accept(engine, sample("evse.changed"), tenant="another")
    assert ids(engine, log) == [entry.notification_id for entry in first]
    assert ids(engine, log) == []
    (second,) = accept(engine, sample("evse.changed"))
    assert ids(engine, log) == [second.notification_id]


def test_one_that_is_committed_after_a_later_one_is_not_missed(engine: Engine, began_at: datetime) -> None:
    log = Tail(SELECTION, began_at, OVERLAP)
    late = received(sample("evse.changed"))
    (later,) = accept(engine, sample("circuit.changed"))
    assert ids(engine, log) == [later.notification_id]
    commit(engine, late)
    assert ids(engine, log) == [late.notification_id]
    assert ids(engine, log) == []


def test_one_that_is_committed_while_pages_are_read_is_not_missed(
    engine: Engine, began_at: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "PAGE_ROWS", 2)
    log = Tail(SELECTION, began_at, OVERLAP)
    late = received(sample("evse.changed"))
    entries = accept(engine, *[sample("circuit.changed")] * 5)
    found = ids(engine, log)
    assert log.is_behind
    commit(engine, late)
    while log.is_behind:
        found += ids(engine, log)
    assert found == [entry.notification_id for entry in entries]
    for _ in range(4):  # each a page of the second pass
        found += ids(engine, log)
    assert found == [*(entry.notification_id for entry in entries), late.notification_id]


def test_a_long_backlog_leaves_few_ids_remembered_and_each_of_its_notifications_is_returned_once(
    engine: Engine, began_at: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "PAGE_ROWS", 2)
    backlog = accept(engine, *[sample("evse.changed")] * 9)
    (newest,) = accept(engine, sample("evse.changed"))
    # The next pass reads only the newest one again.
    monkeypatch.setattr(clock, "now", lambda: newest.received_at + OVERLAP)
    log = Tail(SELECTION, began_at, OVERLAP)
    found, remembered = ids(engine, log), [len(log._seen)]
    while log.is_behind:
        found += ids(engine, log)
        remembered.append(len(log._seen))
    assert remembered == [0, 0, 0, 0, 1, 1]
    assert found + ids(engine, log) == [entry.notification_id for entry in (*backlog, newest)]


def test_what_was_received_before_is_left_out_and_what_is_older_than_the_overlap_is_not_read_again(
    engine: Engine, began_at: datetime
) -> None:
    (old,) = accept(engine, sample("evse.changed"))
    assert ids(engine, Tail(SELECTION, old.received_at + timedelta(milliseconds=1), OVERLAP)) == []
    log = Tail(SELECTION, began_at, timedelta(0))
    assert ids(engine, log) == [old.notification_id]
    assert log._seen == {}


def test_a_selection_is_by_type_and_entity(engine: Engine, began_at: datetime) -> None:
    status, start = sample("HardwareStatusNotification.evse"), sample("session.start.stop.notification.start")
    of_status, of_start = accept(engine, status, start)
    for selection, expected in (
        (Selection(("t",), type_pattern="^Hardware.*$"), [of_status]),
        (Selection(("t",), session_id=start["sessionId"]), [of_start]),
        (Selection(("t",), evse_id=status["evseId"]), [of_status, of_start]),
        (Selection(("t",), charge_point_id=1), []),
    ):
        log = Tail(selection, began_at, OVERLAP)
        assert ids(engine, log) == [entry.notification_id for entry in expected], selection


def test_a_state_is_shown_when_a_notification_comes_to_it(engine: Engine, began_at: datetime) -> None:
    log = Tail(Selection(("t",), states=frozenset({"ignored"})), began_at, OVERLAP)
    ignored, _applied = accept(engine, {"notification": "fromTheFuture"}, sample("evse.changed"))
    assert ids(engine, log) == [], "both are pending"
    apply_open_batches(engine)
    with engine.connect() as connection:
        (shown,) = log.poll(connection)
    assert shown.notification_id == ignored.notification_id
    assert (shown.state, shown.reason) == ("ignored", "unknown type")
    assert ids(engine, log) == []
    # And one that has come to it before it is seen
    (second,) = accept(engine, {"notification": "fromTheFuture"})
    apply_open_batches(engine)
    assert ids(engine, log) == [second.notification_id]


def test_the_number_of_pending_notifications_that_are_awaited_is_bounded(
    engine: Engine, began_at: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "MAX_AWAITED", 1)
    log = Tail(Selection(("t",), states=frozenset({"applied"})), began_at, OVERLAP)
    _, newest = accept(engine, sample("evse.changed"), sample("circuit.changed"))
    assert ids(engine, log) == []
    execute(engine, "UPDATE ingest.batch SET applied_at = now()")
    assert ids(engine, log) == [newest.notification_id]
