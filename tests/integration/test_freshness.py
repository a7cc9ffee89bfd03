"""How far each tenant has come, and how complete each day is: views that analysts read without any right on the inbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from migrations import roles
from storage.database import create_database_engine
from storage.ids import first_made_at
from tests.support.databases import database_user

NOW = datetime.now(UTC).replace(microsecond=0)
TODAY = NOW.replace(hour=0, minute=0, second=0)
YESTERDAY = TODAY - timedelta(days=1)


@pytest.fixture
def owner(database_url: str) -> Iterator[Connection]:
    engine = create_database_engine(database_url, application_name="tests", pool_size=1)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("INSERT INTO analytics.feed VALUES ('t', gen_random_uuid(), 'here', 7, '-infinity')"))
        yield connection
    engine.dispose()


@pytest.fixture
def analyst(engine: Engine) -> Iterator[Connection]:
    with database_user(engine, "of_freshness", options=f"IN ROLE {roles.READ}") as url:
        own = create_database_engine(url, application_name="tests", pool_size=1)
        with own.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection
        own.dispose()


def batch(owner: Connection, received_at: datetime, notifications: int, *, applied: bool = True) -> UUID:
    batch_id = UUID(int=first_made_at(received_at).int | uuid4().int >> 64)
    owner.execute(
        text(
            "INSERT INTO ingest.batch (tenant, batch_id, notifications, body_bytes, first_received_at,"
            " last_received_at, committed_at, applied_at) VALUES ('t', :batch_id, :notifications, 1, :at, :at, :at, :done)"
        ),
        {
            "batch_id": batch_id,
            "notifications": notifications,
            "at": received_at,
            "done": received_at if applied else None,
        },
    )
    return batch_id


def outcome(owner: Connection, batch_id: UUID, received_at: datetime, state: str) -> None:
    owner.execute(
        text(
            "INSERT INTO ingest.outcome (tenant, notification_id, batch_id, received_at, state, reason)"
            " VALUES ('t', :id, :batch_id, :at, :state, 'x')"
        ),
        {
            "id": UUID(int=first_made_at(received_at).int | uuid4().int >> 64),
            "batch_id": batch_id,
            "at": received_at,
            "state": state,
        },
    )


def count_hour(owner: Connection, hour_at: datetime, notifications: int) -> None:
    owner.execute(
        text("INSERT INTO ingest.traffic VALUES ('t', :hour_at, :notifications)"),
        {"hour_at": hour_at, "notifications": notifications},
    )


def alive(owner: Connection, began_at: datetime, ended_at: datetime | None = None) -> None:
    """Let a receiver have been alive; without an end it still is, however long the tests before have taken."""
    owner.execute(
        text("INSERT INTO ingest.uptime VALUES (:began, coalesce(:ended, now()))"),
        {"began": began_at, "ended": ended_at},
    )


def freshness(connection: Connection) -> dict[str, Any]:
    return dict(connection.execute(text("SELECT * FROM analytics.freshness")).mappings().one())


def day(connection: Connection, moment: datetime) -> dict[str, Any]:
    statement = text("SELECT * FROM analytics.completeness_day WHERE tenant = 't' AND day = :day")
    return dict(connection.execute(statement, {"day": moment.date()}).mappings().one())


def test_analysts_read_both_views_without_any_right_on_the_inbox(owner: Connection, analyst: Connection) -> None:
    alive(owner, YESTERDAY)
    for view in ("freshness", "completeness_day"):
        assert analyst.execute(text(f"SELECT count(*) FROM analytics.{view}")).scalar_one() > 0
        for privilege in ("INSERT", "UPDATE", "DELETE"):
            asked = text(f"SELECT has_table_privilege('analytics.{view}', '{privilege}')")
            assert not analyst.execute(asked).scalar_one()
    for table in ("batch", "outcome", "total", "traffic", "sync_run", "uptime", "dropped_day", "traffic_baseline"):
        with pytest.raises(ProgrammingError):
            analyst.execute(text(f"SELECT FROM ingest.{table}"))


def test_a_tenant_without_anything_has_one_row(owner: Connection) -> None:
    found = freshness(owner)
    assert found["tenant"] == "t"
    assert found["last_change_number"] == 7
    assert found["applied_until"] >= NOW
    assert not found["is_receiver_alive"]
    nothing = ("last_notification_at", "derived_until", "oldest_pending_at", "oldest_pending_s")
    assert [found[name] for name in nothing] == [None] * 4


def test_freshness_shows_what_is_pending(owner: Connection) -> None:
    alive(owner, YESTERDAY)
    batch(owner, NOW - timedelta(minutes=9), 3)
    batch(owner, NOW - timedelta(minutes=7), 3, applied=False)
    batch(owner, NOW - timedelta(minutes=5), 3, applied=False)
    found = freshness(owner)
    assert found["last_notification_at"] == NOW - timedelta(minutes=5)
    assert found["applied_until"] == found["oldest_pending_at"] == NOW - timedelta(minutes=7)
    assert 7 * 60 <= found["oldest_pending_s"] < 60 * 60
    assert found["is_receiver_alive"]
    owner.execute(
        text("INSERT INTO analytics.dirty (tenant, kind, entity_id, marked_at) VALUES ('t', 'evse', 1, :at)"),
        {"at": NOW - timedelta(minutes=8)},
    )
    assert freshness(owner)["oldest_pending_at"] == NOW - timedelta(minutes=8)


def test_the_last_notification_is_known_after_its_day_was_dropped_from_the_log(owner: Connection) -> None:
    owner.execute(
        text("INSERT INTO ingest.traffic_baseline (tenant, looked_at, last_received_at) VALUES ('t', :at, :at)"),
        {"at": YESTERDAY},
    )
    assert freshness(owner)["last_notification_at"] == YESTERDAY


def test_a_day_shows_what_was_received_and_what_became_of_it(owner: Connection) -> None:
    alive(owner, YESTERDAY)
    noon = YESTERDAY + timedelta(hours=12)
    count_hour(owner, noon, 10)
    count_hour(owner, TODAY, 5)
    done = batch(owner, noon + timedelta(minutes=1), 7)
    batch(owner, noon + timedelta(minutes=2), 3, applied=False)
    for state in ("ignored", "ignored", "failed"):
        outcome(owner, done, noon, state)
    found = day(owner, YESTERDAY)
    results = ("received", "applied", "ignored", "failed", "pending")
    assert [found[name] for name in results] == [10, 4, 2, 1, 3]


def test_what_the_last_count_lacks_is_counted_from_batches(owner: Connection) -> None:
    alive(owner, YESTERDAY)
    # Given a count of the first hour of yesterday that is older than the batches after it
    count_hour(owner, YESTERDAY, 2)
    batch(owner, YESTERDAY - timedelta(seconds=1), 100)
    batch(owner, YESTERDAY + timedelta(minutes=1), 3)
    batch(owner, YESTERDAY + timedelta(hours=5), 4)
    batch(owner, TODAY - timedelta(milliseconds=1), 5)
    batch(owner, TODAY, 200)
    assert day(owner, YESTERDAY)["received"] == 12
    # And a tenant whose hours were never counted
    owner.execute(text("DELETE FROM ingest.traffic"))
    assert day(owner, YESTERDAY)["received"] == 12
    assert day(owner, TODAY)["received"] == 200


def test_of_a_day_that_was_dropped_from_the_log_the_received_and_failed_ones_are_known(owner: Connection) -> None:
    alive(owner, YESTERDAY)
    count_hour(owner, YESTERDAY, 10)
    count_hour(owner, TODAY, 0)
    outcome(owner, batch(owner, YESTERDAY, 2), YESTERDAY, "failed")
    owner.execute(text("INSERT INTO ingest.dropped_day (day, kept) VALUES (:day, 1)"), {"day": YESTERDAY.date()})
    found = day(owner, YESTERDAY)
    assert [found[name] for name in ("received", "applied", "ignored", "failed")] == [10, None, None, 1]


def test_a_day_shows_what_only_sync_runs_found(owner: Connection) -> None:
    alive(owner, YESTERDAY)
    for purpose, finished_at in (
        ("reconcile", YESTERDAY),
        ("reconcile", TODAY - timedelta(seconds=1)),
        ("reconcile", TODAY),
        ("reconcile", None),
        ("backfill", YESTERDAY),
    ):
        owner.execute(
            text(
                "INSERT INTO ingest.sync_run (tenant, sync_run_id, kind, purpose, finished_at, missing, stale, healed)"
                " VALUES ('t', gen_random_uuid(), 'evse', :purpose, :at, 2, 3, 4)"
            ),
            {"purpose": purpose, "at": finished_at},
        )
    found = day(owner, YESTERDAY)
    assert (found["found_by_reconcile"], found["healed_by_reconcile"]) == (10, 8)


def test_a_day_shows_for_how_long_no_receiver_was_alive(owner: Connection) -> None:
    # Given a service that began the day before yesterday at 20:00, was away from 23:00 to 2:00, and away for a minute
    first = YESTERDAY - timedelta(hours=4)
    alive(owner, first, first + timedelta(hours=3))
    alive(owner, YESTERDAY + timedelta(hours=2), YESTERDAY + timedelta(hours=5))
    alive(owner, YESTERDAY + timedelta(hours=5, minutes=1))
    assert day(owner, first)["without_receiver_s"] == 3600
    assert day(owner, YESTERDAY)["without_receiver_s"] == 2 * 3600 + 60
    # The receiver that sent a heartbeat some seconds ago is alive
    assert day(owner, TODAY)["without_receiver_s"] == 0
    # And no day before the first receiver is shown
    shown = "SELECT min(day), count(*) FROM analytics.completeness_day WHERE day <= :today"
    assert owner.execute(text(shown), {"today": TODAY.date()}).one() == (first.date(), 3)
