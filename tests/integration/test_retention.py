"""Old days of the log go once all of them is settled; what failed stays, and no count is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from migrations import roles
from runtime.settings import Settings, SettingsError, load_settings
from storage.inbox.batches import LoggedBody
from storage.inbox.retention import MIN_KEPT, complete_since
from storage.log.read import log_begins
from storage.log.scope import Scope
from storage.monitoring.traffic import first_and_last, note
from storage.reports.overview import overview
from tests.support.commands import run
from tests.support.facts import sample
from tests.support.service import Service, eventually
from workers.apply import apply
from workers.apply.apply import Parsed
from workers.jobs import drop_log
from workers.maintenance import replay as replaying
from workers.maintenance.replay import replay

GOOD = sample("NetworkStatusNotification.available")
UNKNOWN = {"notification": "not.in.the.catalogue"}
KEEP = timedelta(days=30)

#: What a test may do to the log: send it back in time, as if it had come that many days ago.
Age = Callable[[int], None]


@pytest.fixture
def age(service: Service) -> Age:
    """Move all that the log holds back by so many days, into partitions of those days."""

    def go_back(days: int) -> None:
        with service.engine.begin() as connection:
            day = connection.execute(
                text("SELECT (min(received_at) AT TIME ZONE 'UTC')::date FROM ingest.notification")
            )
            old = day.scalar_one() - timedelta(days=days)
            connection.execute(
                text(
                    f"CREATE TABLE IF NOT EXISTS ingest.notification_{old:%Y%m%d} PARTITION OF ingest.notification"
                    f" FOR VALUES FROM ('{old} 00:00+00') TO ('{old + timedelta(days=1)} 00:00+00')"
                )
            )
            for table in ("notification", "outcome"):
                connection.execute(
                    text(f"UPDATE ingest.{table} SET received_at = received_at - make_interval(days => :days)"),
                    {"days": days},
                )
            connection.execute(
                text(
                    "UPDATE ingest.batch SET first_received_at = first_received_at - make_interval(days => :days),"
                    " last_received_at = last_received_at - make_interval(days => :days)"
                ),
                {"days": days},
            )

    return go_back


def partitions(service: Service) -> list[str]:
    listed = (
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'ingest.notification'::regclass"
    )
    return [row["name"] for row in service.query(listed)]


def counts(service: Service) -> tuple[int, int, int, int]:
    with service.engine.connect() as connection:
        (one,) = [one for one in overview(connection, ["demo"]) if one.tenant == "demo"]
    return one.applied, one.pending, one.ignored, one.failed


def send(service: Service) -> None:
    """Two that are applied, one that is ignored, one that fails: in a batch each."""
    for body in (GOOD, GOOD | {"chargePointId": 419}, UNKNOWN, GOOD | {"chargePointId": "none"}):
        assert service.post(body).status_code == 202
    service.apply()


def test_an_old_day_goes_but_for_what_failed_and_every_count_stays(service: Service, age: Age) -> None:
    # Given a day of 40 days ago, and one of today
    send(service)
    (failed,) = service.query(
        "SELECT * FROM ingest.outcome JOIN ingest.notification USING (tenant, notification_id) WHERE state = 'failed'"
    )
    age(40)
    send(service)
    before = counts(service)
    assert before == (4, 0, 2, 2)
    # When 30 days are kept
    drop_log(service.engine, KEEP)
    # Then of the old day the failed one alone is left, as it was, and today's are all there
    left = service.query("SELECT * FROM ingest.notification ORDER BY received_at")
    assert len(left) == 5
    assert (left[0]["notification_id"], left[0]["body"]) == (failed["notification_id"], failed["body"])
    assert service.count("ingest.notification_state WHERE state = 'failed'") == 2
    # And nothing is left of the others but what they came to
    assert service.count("ingest.batch") == 1 + 4
    assert service.count("ingest.outcome") == 1 + 2
    assert counts(service) == before
    assert service.query("SELECT kept FROM ingest.dropped_day") == [{"kept": 1}]


def test_a_day_goes_only_once_all_that_came_until_its_end_is_settled(service: Service, age: Age) -> None:
    service.post(GOOD)
    age(50)
    service.apply()
    assert service.post(GOOD).status_code == 202
    with service.engine.begin() as connection:
        # One that came before the end of that day waits still
        connection.execute(
            text(
                "UPDATE ingest.batch SET first_received_at = first_received_at - interval '50 days', applied_at = NULL"
                " WHERE applied_at IS NULL"
            )
        )
    drop_log(service.engine, KEEP)
    assert service.count("ingest.notification") == 2
    service.apply()
    drop_log(service.engine, KEEP)
    assert service.count("ingest.notification") == 1


def test_what_failed_can_be_replayed_and_then_goes_with_its_day(service: Service, age: Age) -> None:
    # Given a dropped day with a notification that failed, and that is understood by now
    service.post(GOOD | {"chargePointId": "none"})
    service.apply()
    age(40)
    drop_log(service.engine, KEEP)
    assert counts(service) == (0, 0, 0, 1)
    with service.engine.begin() as connection:
        body = b'{"notification":"NetworkStatusNotification","chargePointId":7,"networkStatus":"available",'
        body += b'"timestamp":"2026-03-04T07:50:00Z"}'
        connection.execute(text("UPDATE ingest.notification SET body = :body"), {"body": body})
    # When it is replayed
    scope = Scope("demo", datetime(1970, 1, 1, tzinfo=UTC), datetime.now(UTC), state="failed")
    assert sum(chunk.seen for chunk in replay(service.engine, scope)) == 1
    # Then it counts as applied, and its day goes altogether
    assert counts(service) == (1, 0, 0, 0)
    drop_log(service.engine, KEEP)
    assert service.count("ingest.notification") == 0
    assert counts(service) == (1, 0, 0, 0)
    assert len(partitions(service)) == len(set(partitions(service))) < 12


def test_what_is_younger_stays_and_the_database_itself_refuses_to_drop_the_last_week(
    service: Service, age: Age
) -> None:
    send(service)
    age(20)
    drop_log(service.engine, KEEP)
    assert service.count("ingest.notification") == 4
    with service.engine.connect() as connection, pytest.raises(DBAPIError, match="last seven days"):
        connection.execute(text("SELECT ingest.drop_log_day(CURRENT_DATE - 6)"))


def test_a_reader_of_the_log_is_not_waited_for_and_loses_nothing(service: Service, age: Age) -> None:
    send(service)
    age(40)
    with service.engine.connect() as reader:
        # Given somebody who reads the log for long, as a backup does
        reader.execute(text("SELECT count(*) FROM ingest.notification"))
        # When the day should go, then it stays until later, and what arrives in the meantime is accepted
        with pytest.raises(DBAPIError, match="lock timeout"):
            drop_log(service.engine, KEEP)
        assert service.post(GOOD).status_code == 202
        assert reader.execute(text("SELECT count(*) FROM ingest.notification")).scalar_one() == 5
    assert counts(service)[2:] == (1, 1)
    drop_log(service.engine, KEEP)
    assert service.count("ingest.notification") == 2


def test_dropping_a_day_and_applying_wait_for_nothing_of_each_other(service: Service, age: Age) -> None:
    send(service)
    age(40)
    with service.engine.begin() as worker:
        # Given a worker that is about to commit, and so holds its tenant's total
        worker.execute(text("UPDATE ingest.total SET closed = closed WHERE tenant = 'demo'"))
        # When an old day is dropped in the meantime, with ignored ones, then it does not wait for that worker
        drop_log(service.engine, KEEP)
    assert service.count("ingest.notification") == 1
    assert counts(service) == (2, 0, 1, 1)


def test_a_day_stays_where_what_failed_of_it_changes_while_it_is_dropped(service: Service, age: Age) -> None:
    send(service)
    age(40)
    # Given a failure whose notification the copy does not hold, as if a replay had met it since
    with service.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ingest.outcome (tenant, notification_id, batch_id, received_at, state, reason)"
                " SELECT tenant, gen_random_uuid(), batch_id, received_at, state, reason FROM ingest.outcome"
                " WHERE state = 'failed'"
            )
        )
    with pytest.raises(DBAPIError, match="stays until the next run"):
        drop_log(service.engine, KEEP)
    assert service.count("ingest.notification") == 4


def test_a_worker_takes_its_tenants_total_last(service: Service) -> None:
    for body in (GOOD, UNKNOWN):
        assert service.post(body).status_code == 202
    with service.engine.begin() as connection:
        connection.execute(text("INSERT INTO ingest.total (tenant) VALUES ('demo') ON CONFLICT DO NOTHING"))
    with ThreadPoolExecutor(1) as pool:
        with service.engine.begin() as other:
            # Given another worker that has marked the same reads, and has yet to close
            other.execute(text("LOCK TABLE ingest.refresh_request IN EXCLUSIVE MODE"))
            applying = pool.submit(service.apply)
            eventually(
                lambda: bool(
                    service.query(
                        "SELECT FROM pg_locks WHERE NOT granted AND relation = 'ingest.refresh_request'::regclass"
                    )
                )
            )
            # Then the total is free for it, although the first has something to set aside
            other.execute(text("SET LOCAL lock_timeout = '500ms'"))
            other.execute(text("UPDATE ingest.total SET closed = closed WHERE tenant = 'demo'"))
        applying.result()
    assert counts(service) == (1, 0, 1, 0)


def test_the_time_of_a_tenants_last_notification_outlives_the_log(service: Service, age: Age) -> None:
    service.post(GOOD)
    service.apply()
    age(40)
    with service.engine.begin() as connection:
        _, last = first_and_last(connection, "demo")
        connection.execute(text("INSERT INTO ingest.traffic_baseline (tenant, looked_at) VALUES ('demo', now())"))
        note(connection, "demo", last_received_at=last, learned_hours=0, min_expected=1.0, judged=None)
    drop_log(service.engine, KEEP)
    with service.engine.begin() as connection:
        _, left = first_and_last(connection, "demo")
        note(connection, "demo", last_received_at=left, learned_hours=0, min_expected=1.0, judged=None)
    assert left is None
    assert service.query("SELECT last_received_at FROM ingest.traffic_baseline WHERE tenant = 'demo'") == [
        {"last_received_at": last}
    ]


def test_the_log_says_from_when_on_it_is_whole(service: Service, age: Age, tmp_path: Path, redis_url: str) -> None:
    send(service)
    age(40)
    send(service)
    drop_log(service.engine, KEEP)
    with service.engine.connect() as connection:
        complete = complete_since(connection)
        assert complete is not None
        assert complete.date() == datetime.now(UTC).date() - timedelta(days=39)
        begins, whole = log_begins(connection, "demo"), log_begins(connection, "demo", complete=True)
    assert begins is not None
    assert whole is not None
    assert begins < complete < whole
    # And a replay from an earlier time says so
    settings = {
        "DATABASE_URL": service.settings.required_database_url(),
        "REDIS_URL": redis_url,
        "TENANTS_FILE": str(tmp_path / "tenants.toml"),
    }
    asked = run(tmp_path, "replay", "--from", "2020-01-01", "--dry-run", **settings)
    assert f"The log is complete since {complete:%Y-%m-%d}" in asked.stderr
    assert f"The log is complete since {complete:%Y-%m-%d}" in run(tmp_path, "status", **settings).stdout


def test_the_users_of_the_service_may_drop_days_and_nothing_else() -> None:
    assert "ingest.drop_log_day(date)" in roles.SERVICE_FUNCTIONS
    assert "DELETE" not in roles.service_privileges()["ingest.batch"]
    assert "DELETE" not in roles.service_privileges()["ingest.total"]


@pytest.mark.parametrize("keep", ["P6D", "86400", "-1"])
def test_too_short_a_time_is_refused_with_the_settings_name(keep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_KEEP_NOTIFICATIONS", keep)
    with pytest.raises(SettingsError, match="RECEIVER_KEEP_NOTIFICATIONS"):
        load_settings()


def test_days_are_kept_unless_the_setting_limits_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().keep_notifications is None
    monkeypatch.setenv("RECEIVER_KEEP_NOTIFICATIONS", "P90D")
    assert load_settings().keep_notifications == timedelta(days=90) > MIN_KEPT


def test_no_day_goes_while_a_replay_changes_its_bodies(
    service: Service, age: Age, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an old day whose failed notification is being replayed
    send(service)
    age(40)
    parse = apply.parse_all

    def parse_all(logged: Sequence[LoggedBody]) -> Parsed:
        # When the day would be dropped in the midst of that
        drop_log(service.engine, KEEP)
        return parse(logged)

    monkeypatch.setattr(replaying, "parse_all", parse_all)
    scope = Scope("demo", datetime(1970, 1, 1, tzinfo=UTC), datetime.now(UTC), state="failed")
    assert sum(chunk.seen for chunk in replay(service.engine, scope)) == 1
    # Then it stays until the next time
    assert service.count("ingest.notification") == 4
    drop_log(service.engine, KEEP)
    assert service.count("ingest.notification") == 1
