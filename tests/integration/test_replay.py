"""Replay: what the log holds is applied again, and what was settled rightly stays as it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from ampeco.notifications.payloads import HardwareStatus
from storage.log.read import count
from storage.state import notifications
from tests.support.commands import run
from tests.support.facts import sample
from tests.support.log import accept, everything, execute, query
from tests.support.replay import faulted_at, replayed, scope
from tests.support.service import eventually, write_tenants
from workers.apply.apply import apply_open_batches
from workers.maintenance.replay import replay

MANY: tuple[str, ...] = (
    "session.start.stop.notification.start",
    "SessionUpdateNotification.finished",
    "NetworkStatusNotification.offline",
)
MANY += ("HardwareStatusNotification.faulted", "SessionMeterValuesNotification", "BootNotification", "evse.changed")


def test_replaying_twice_changes_nothing(engine: Engine) -> None:
    accept(engine, *(sample(name) for name in MANY), b"not JSON", {"notification": "from.the.future"})
    apply_open_batches(engine)
    before = everything(engine)
    assert replayed(engine).seen == len(MANY) + 2
    replayed(engine)
    after = everything(engine)
    # Reads that were not made yet may be requested again; everything else is the same to the microsecond.
    asked = "ingest.refresh_request"
    assert {name: rows for name, rows in after.items() if name != asked} == {
        name: rows for name, rows in before.items() if name != asked
    }
    assert len(after[asked]) == len(before[asked])


def test_a_notification_that_failed_and_now_applies_loses_its_outcome(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a notification that our code fails on, beside one that it does not
    with monkeypatch.context() as patched:
        patched.setattr(notifications, "_hardware_status", lambda *_: 1 / 0)
        accept(engine, faulted_at(1), sample("BootNotification"), b"not JSON")
        apply_open_batches(engine)
    assert query(engine, "SELECT reason FROM ingest.outcome ORDER BY 1") == [
        {"reason": "cannot be applied"},
        {"reason": "not JSON"},
    ]
    # When the code is repaired, and what failed is applied again
    result = replayed(engine, state="failed")
    # Then the one is in the state, and the other is still in its place
    assert (result.applied, result.failed, result.repaired) == (1, 1, 1)
    assert query(engine, "SELECT hardware_status FROM charging.evse") == [{"hardware_status": "faulted"}]
    assert query(engine, "SELECT reason FROM ingest.outcome") == [{"reason": "not JSON"}]


def test_a_notification_that_fails_again_keeps_its_outcome_with_the_newest_error(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_old(*_: object) -> None:
        raise RuntimeError("the old error")

    def raise_new(*_: object) -> None:
        raise RuntimeError("the new error")

    monkeypatch.setattr(notifications, "_hardware_status", raise_old)
    accept(engine, faulted_at(1))
    apply_open_batches(engine)
    (before,) = query(engine, "SELECT error, recorded_at FROM ingest.outcome")
    monkeypatch.setattr(notifications, "_hardware_status", raise_new)
    assert replayed(engine).failed == 1
    (after,) = query(engine, "SELECT error, recorded_at FROM ingest.outcome")
    assert (before["error"], after["error"]) == ("RuntimeError: the old error", "RuntimeError: the new error")
    assert after["recorded_at"] > before["recorded_at"]


def test_what_an_older_release_ignored_is_applied_once_it_is_known(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ampeco.notifications import catalogue

    with monkeypatch.context() as patched:
        patched.delitem(catalogue._BY_NAME, "HardwareStatusNotification")
        accept(engine, faulted_at(1))
        apply_open_batches(engine)
    assert query(engine, "SELECT reason FROM ingest.outcome") == [{"reason": "unknown type"}]
    assert replayed(engine, notification_type="HardwareStatusNotification").repaired == 1
    assert query(engine, "SELECT count(*) AS n FROM ingest.outcome") == [{"n": 0}]
    assert query(engine, "SELECT hardware_status FROM charging.evse") == [{"hardware_status": "faulted"}]


def test_an_older_fact_does_not_win_because_it_is_replayed(engine: Engine) -> None:
    accept(engine, faulted_at(1))
    time.sleep(0.002)
    (newer,) = accept(engine, faulted_at(2) | {"hardwareStatus": "available"})
    apply_open_batches(engine)
    assert replayed(engine, until=newer.received_at).applied == 1
    assert query(engine, "SELECT hardware_status FROM charging.evse") == [{"hardware_status": "available"}]


def test_a_span_a_type_and_a_tenant_choose_what_is_replayed(engine: Engine) -> None:
    first = accept(engine, faulted_at(1))[0]
    time.sleep(0.002)
    second, third = accept(engine, faulted_at(2), sample("BootNotification"))
    accept(engine, faulted_at(3), tenant="other")
    apply_open_batches(engine)
    apply_open_batches(engine)
    for chosen, number in (
        (scope(), 3),
        (scope(since=second.received_at), 2),
        (scope(until=second.received_at), 1),
        (scope(since=first.received_at, until=first.received_at + timedelta(milliseconds=1)), 1),
        (scope(notification_type="BootNotification"), 1),
        (scope(state="failed"), 0),
        (scope(state="ignored"), 0),
        (scope(state="applied"), 3),
        (scope(reason="not JSON"), 0),
        (scope(evse_id=faulted_at(1)["evseId"]), 2),
        (scope(charge_point_id=418), 3),
        (scope(session_id=1), 0),
        (scope(containing="BootNotification"), 1),
        (scope(notification_id=first.notification_id), 1),
        (scope(tenant="other"), 1),
        (scope(tenant="unknown"), 0),
    ):
        assert sum(chunk.seen for chunk in replay(engine, chosen, limit=1)) == number, chosen
        with engine.begin() as connection:
            assert count(connection, chosen) == number, chosen
    assert third.notification_type == "BootNotification"


def test_a_chunk_is_bounded_by_notifications_and_by_bytes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    accept(engine, *(faulted_at(second) for second in range(7)))
    apply_open_batches(engine)
    assert [chunk.seen for chunk in replay(engine, scope(), limit=3)] == [3, 3, 1]
    monkeypatch.setattr("workers.maintenance.replay.MAX_BYTES", 1)
    assert [chunk.seen for chunk in replay(engine, scope(), limit=3)] == [1] * 7


def test_what_is_still_open_is_left_to_apply(engine: Engine) -> None:
    accept(engine, faulted_at(1))
    assert replayed(engine).seen == 0


def test_one_that_postgres_refuses_holds_up_no_other(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    accept(engine, *(faulted_at(second) for second in range(5)))
    apply_open_batches(engine)
    execute(engine, "TRUNCATE charging.evse, charging.evse_status_observation")
    original = notifications._hardware_status

    def spoiled(found: Any, payload: HardwareStatus, *rest: Any) -> None:
        original(found, payload, *rest)
        if payload.timestamp.second == 4:
            found.facts[0].values["hardware_status"] = "\0"

    monkeypatch.setattr(notifications, "_hardware_status", spoiled)
    result = replayed(engine, limit=5)
    assert (result.applied, result.failed) == (4, 1)
    assert query(engine, "SELECT reason FROM ingest.outcome") == [{"reason": "refused by Postgres"}]
    assert query(engine, "SELECT count(*) AS n FROM charging.evse_status_observation") == [{"n": 4}]


def test_a_read_that_was_made_since_is_not_asked_for_again(engine: Engine) -> None:
    # Given an EVSE that changed, and was read after that
    accept(engine, sample("evse.changed"))
    apply_open_batches(engine)
    assert query(engine, "SELECT kind, reason FROM ingest.refresh_request") == [{"kind": "evse", "reason": "changed"}]
    execute(engine, "DELETE FROM ingest.refresh_request")
    execute(
        engine,
        "INSERT INTO charging.evse (tenant, evse_id, presence_at, presence_version) VALUES ('t', 902, :at, '1')",
        at=datetime.now(UTC) + timedelta(minutes=10),
    )
    # Then its notification asks for nothing more
    assert replayed(engine).reads == 0
    # but does where the read was made before it came
    execute(engine, "UPDATE charging.evse SET presence_at = :at", at=datetime.now(UTC) - timedelta(minutes=10))
    assert replayed(engine).reads == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["replay"], "--from"),
        (["replay", "--from", "yesterday"], "--from"),
        (["replay", "--from", "2999-01-01"], "is in the future"),
        (["replay", "--from", "2026-03-04", "--to", "2026-03-03"], "not later than --from"),
        (["replay", "--from", "2026-03-04", "--type", "BootNotificatoin"], "Did you mean BootNotification?"),
        (["replay", "--failed", "--tenant", "unknown"], "unknown is not in"),
        (["replay", "--failed", "--state", "ignored"], "ignored contradicts --failed"),
        (["replay", "--state", "ignored"], "--from"),
        (["replay", "--id", "ffffffff-ffff-ffff-ffff-ffffffffffff"], "not the id of a notification"),
    ],
)
def test_a_wrong_option_is_reported_and_nothing_is_done(
    tmp_path: Path, database_url: str, redis_url: str, arguments: list[str], named: str
) -> None:
    write_tenants(tmp_path)
    ended = run(tmp_path, *arguments, DATABASE_URL=database_url, REDIS_URL=redis_url)
    assert ended.returncode == 2
    assert named in " ".join(ended.stderr.replace("│", " ").split())
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_an_id_that_the_log_does_not_have_is_an_error(
    tmp_path: Path, database_url: str, redis_url: str, options: list[str]
) -> None:
    write_tenants(tmp_path)
    unknown = "019a0000-0000-7000-8000-000000000000"
    ended = run(tmp_path, "replay", "--id", unknown, *options, DATABASE_URL=database_url, REDIS_URL=redis_url)
    assert ended.returncode == 1
    assert f"{unknown} is not in the log of these tenants" in ended.stderr


def test_a_dry_run_counts_and_changes_nothing(
    tmp_path: Path, database_url: str, redis_url: str, engine: Engine
) -> None:
    write_tenants(tmp_path)
    accept(engine, faulted_at(1), sample("BootNotification"), tenant="demo")
    apply_open_batches(engine)
    execute(engine, "TRUNCATE charging.evse")
    ended = run(
        tmp_path, "replay", "--from", "2020-01-01", "--tenant", "demo", "--dry-run",
        DATABASE_URL=database_url, REDIS_URL=redis_url,
    )  # fmt: skip
    assert ended.stdout == "demo: 2 notifications would be applied again\n"
    assert query(engine, "SELECT count(*) AS n FROM charging.evse") == [{"n": 0}]


def test_ctrl_c_ends_after_the_current_chunk_and_says_how_far_it_came(
    tmp_path: Path, database_url: str, redis_url: str, engine: Engine
) -> None:
    # Given a log of several chunks, and a lock that holds the first of them up
    write_tenants(tmp_path)
    for _ in range(3):
        accept(engine, *(faulted_at(second % 60) for second in range(2000)), tenant="demo")
    apply_open_batches(engine)
    execute(engine, "TRUNCATE charging.evse")
    with engine.begin() as blocking:
        blocking.exec_driver_sql("LOCK charging.evse IN EXCLUSIVE MODE")
        process = subprocess.Popen(
            [sys.executable, "-m", "receiver", "replay", "--from", "2020-01-01"],
            cwd=tmp_path,
            env=os.environ | {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        waiting = "SELECT 1 FROM pg_locks WHERE relation = 'charging.evse'::regclass AND NOT granted"
        eventually(lambda: query(engine, waiting))
        # When it is asked to stop
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert process.poll() is None
    # Then it finishes that chunk, and leaves the rest
    output, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "demo: 2,000 applied" in output
    # And it does not look as if that time counted for the other tenants, too
    assert "continue with --tenant demo --from 20" in said
    assert "other: not begun." in said
    assert query(engine, "SELECT count(*) AS n FROM charging.evse") == [{"n": 1}]
