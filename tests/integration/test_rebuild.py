"""Rebuild: the state made from the log again, compared with the live state; a swap repairs it and keeps all that reads added."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from storage.inbox.commit import Entry
from storage.state import notifications
from storage.state.fold import Fold, fact_from_read
from storage.state.upsert import upsert
from tests.support.commands import run
from tests.support.facts import sample
from tests.support.log import accept, everything, execute, query
from tests.support.replay import compared, differences, faulted_at
from tests.support.service import write_tenants
from tests.support.strategies import fleet_notifications, session_notifications
from workers.apply.apply import apply_open_batches
from workers.maintenance.rebuild import RebuildError, alone, fold_log, scope_of, swap

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def store(engine: Engine, *known: Any) -> None:
    """Store facts of reads."""
    with engine.begin() as connection:
        upsert(connection, "t", Fold(known))


def whole_fleet(engine: Engine) -> None:
    """A log of many kinds, and reads of the same entities and of others."""
    names = ["session.start.stop.notification.start", "SessionUpdateNotification.finished"]
    names += [
        "NetworkStatusNotification.offline",
        "HardwareStatusNotification.faulted",
        "SessionMeterValuesNotification",
    ]
    names += ["BootNotification", "LocationChangedNotification", "ChargePointChangedNotification"]
    for name in names:
        accept(engine, sample(name))
    apply_open_batches(engine)
    store(
        engine,
        fact_from_read("evse", 902, "master", NOW, {"label": "read"}, began_at=NOW),
        fact_from_read("evse", 1, "master", NOW, {"label": "known by a read alone"}, began_at=NOW),
        fact_from_read("location", 1, "presence", NOW, {"deleted_at": NOW}, began_at=NOW),
        fact_from_read("charge_point", 418, "network", NOW, {"network_status": "available"}, began_at=NOW),
    )


def state(engine: Engine) -> dict[str, list[str]]:
    shown = everything(engine)
    return {table: rows for table, rows in shown.items() if table.startswith("charging.")}


def lasting(engine: Engine) -> dict[str, list[str]]:
    """The state without our own times, which a repaired row has again."""
    shown = everything(engine, own_times=False)
    del shown["charging.session_revision"]
    return {table: rows for table, rows in shown.items() if table.startswith("charging.")}


def test_a_sound_state_is_what_the_log_and_the_reads_make_it(engine: Engine) -> None:
    whole_fleet(engine)
    assert differences(compared(engine)) == {}
    # A swap of nothing touches no row
    before = state(engine)
    assert swap(engine, "t").rows == 0
    assert state(engine) == before


@settings(max_examples=15)
@given(source=st.lists(session_notifications() | fleet_notifications(), min_size=1, max_size=8), data=st.data())
def test_any_notifications_in_any_order_rebuild_to_the_live_state(
    shared_database: Engine, source: list[dict[str, Any]], data: st.DataObject
) -> None:
    for body in data.draw(st.permutations(source)):
        accept(shared_database, body)
    apply_open_batches(shared_database)
    assert differences(compared(shared_database, limit=2)) == {}
    for table in ("ingest.notification", "ingest.batch", "charging.session", "charging.evse", "charging.charge_point"):
        execute(shared_database, f"DELETE FROM {table}")
    execute(
        shared_database,
        "TRUNCATE charging.location, charging.connector, charging.charging_period, charging.authorization,"
        " charging.meter_value, charging.evse_status_observation, charging.charge_point_hardware_observation,"
        " charging.charge_point_network_observation",
    )


@pytest.fixture
def shared_database(engine: Engine) -> Engine:
    """A database that one test fills and empties many times."""
    return engine


def test_what_is_wrong_in_the_live_state_is_reported_and_repaired(engine: Engine) -> None:
    whole_fleet(engine)
    sound = lasting(engine)
    # Given a row that is gone, one that was changed behind our back, and an observation that is gone
    execute(engine, "DELETE FROM charging.charging_period")
    execute(engine, "UPDATE charging.session SET energy_wh = 1, receipt_id = 7")
    execute(engine, "DELETE FROM charging.meter_value WHERE ctid = (SELECT min(ctid) FROM charging.meter_value)")
    found = compared(engine)
    assert differences(found) == {"session": (0, 0, 1), "charging_period": (1, 0, 0), "meter_value": (1, 0, 0)}
    (example,) = [one for one in found.examples if one.table == "session"]
    assert (example.key, example.changes["energy_wh"]) == ("77120", (1, 23_410))
    # When it is swapped in
    swapped = swap(engine, "t")
    assert (swapped.rows, swapped.observations) == (2, 1)
    # Then all is as it was
    assert differences(compared(engine)) == {}
    assert lasting(engine) == sound


def test_what_only_a_read_showed_survives_a_swap(engine: Engine) -> None:
    whole_fleet(engine)
    before = state(engine)
    execute(engine, "UPDATE charging.evse SET hardware_status = 'spoiled' WHERE evse_id = 902")
    assert differences(compared(engine)) == {"evse": (0, 0, 1)}
    swap(engine, "t")
    evses = query(engine, "SELECT evse_id, label, hardware_status FROM charging.evse ORDER BY 1")
    assert evses == [
        {"evse_id": 1, "label": "known by a read alone", "hardware_status": None},
        {"evse_id": 902, "label": "read", "hardware_status": "faulted"},
    ]
    after = state(engine)
    for table in ("charging.location", "charging.charge_point"):
        assert after[table] == before[table], "a tombstone or a status that a read showed"


def test_a_fact_that_repaired_code_reads_differently_replaces_the_old_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given facts that a former release read wrongly, of the same time as the right ones
    start_stop = notifications._start_stop

    def wrong(found: Any, notice: Any) -> None:
        start_stop(found, notice.model_copy(update={"meter_start": 0}))

    with monkeypatch.context() as patched:
        patched.setattr(notifications, "_start_stop", wrong)
        accept(engine, sample("session.start.stop.notification.start"))
        apply_open_batches(engine)
    assert query(engine, "SELECT meter_start_wh FROM charging.session") == [{"meter_start_wh": 0}]
    # Then the rebuilt ones differ, and stand after the swap, with nothing conflicting
    assert differences(compared(engine)) == {"session": (0, 0, 1)}
    swap(engine, "t")
    (row,) = query(engine, "SELECT meter_start_wh, meter_conflicting FROM charging.session")
    assert (row["meter_start_wh"], row["meter_conflicting"]) == (1_199_320, False)


def test_a_swap_that_corrects_a_stopped_session_leaves_one_revision(engine: Engine) -> None:
    accept(engine, sample("SessionUpdateNotification.finished"))
    apply_open_batches(engine)
    for _ in range(2):
        execute(engine, "UPDATE charging.session SET energy_wh = 1")
        compared(engine)
        swap(engine, "t")
    (revision,) = query(engine, "SELECT source, changed_from, changed_to FROM charging.session_revision")
    assert revision == {"source": "rebuild", "changed_from": {"energy_wh": 1}, "changed_to": {"energy_wh": 23_410}}


def test_what_arrives_during_a_rebuild_is_neither_a_difference_nor_lost(engine: Engine) -> None:
    whole_fleet(engine)
    execute(engine, "UPDATE charging.evse SET hardware_status = 'spoiled' WHERE evse_id = 902")
    newer = faulted_at(50) | {"timestamp": "2026-03-04T11:00:00Z", "hardwareStatus": "charging"}

    def arrive() -> None:
        accept(engine, newer, sample("session.start.stop.notification.stop"))
        apply_open_batches(engine)

    assert differences(compared(engine, in_between=arrive)) == {}
    assert query(engine, "SELECT hardware_status FROM charging.evse WHERE evse_id = 902") == [
        {"hardware_status": "charging"}
    ]


def test_a_group_that_changed_after_the_comparison_is_not_set_back(engine: Engine) -> None:
    # Given a row with two groups that are wrong
    first = sample("HardwareStatusNotification.chargepoint")
    accept(engine, first, sample("BootNotification"))
    apply_open_batches(engine)
    execute(engine, "UPDATE charging.charge_point SET hardware_status = 'spoiled', boot_model = 'spoiled'")
    assert differences(compared(engine)) == {"charge_point": (0, 0, 1)}
    # When a newer fact of one of them comes between the comparison and the swap
    accept(engine, first | {"timestamp": "2026-03-04T11:00:00Z", "hardwareStatus": "faulted"})
    apply_open_batches(engine)
    swap(engine, "t")
    # Then it stays, and the other group of the row is repaired
    (row,) = query(engine, "SELECT hardware_status, boot_model FROM charging.charge_point")
    assert row == {"hardware_status": "faulted", "boot_model": "QC-50"}


def test_what_a_worker_has_claimed_is_not_compared(engine: Engine) -> None:
    whole_fleet(engine)
    # Given a notification that was applied by itself, and whose batch is still open
    accept(engine, faulted_at(50) | {"timestamp": "2026-03-04T11:00:00Z", "hardwareStatus": "charging"})
    apply_open_batches(engine)
    execute(
        engine,
        "UPDATE ingest.batch SET applied_at = NULL WHERE batch_id = (SELECT max(batch_id::text)::uuid FROM ingest.batch)",
    )
    found = compared(engine)
    assert differences(found).get("evse") is None
    assert {one.table: one.moving for one in found.tables}["evse"] == 1
    swap(engine, "t")
    assert query(engine, "SELECT hardware_status FROM charging.evse WHERE evse_id = 902") == [
        {"hardware_status": "charging"}
    ]


def test_what_is_older_than_a_log_that_was_cut_is_kept(engine: Engine) -> None:
    # Given rows of a month ago, whose notifications were dropped
    accept(engine, sample("NetworkStatusNotification.offline"), sample("HardwareStatusNotification.chargepoint"))
    apply_open_batches(engine)
    execute(engine, "DELETE FROM ingest.notification")
    execute(engine, "UPDATE charging.charge_point SET first_seen_at = first_seen_at - interval '30 days'")
    execute(
        engine,
        "UPDATE charging.charge_point_network_observation SET notification_id = '01000000-0000-7000-8000-000000000000'",
    )
    execute(
        engine,
        "UPDATE charging.charge_point_hardware_observation SET notification_id = '01000000-0000-7000-8000-000000000000'",
    )
    accept(engine, sample("BootNotification"))
    apply_open_batches(engine)
    before = state(engine)
    assert differences(compared(engine)) == {}
    swap(engine, "t")
    assert state(engine) == before


def move_to(engine: Engine, entry: Entry, received_at: str) -> None:
    """Date a notification of the log, with its batch, as if it had come at another time."""
    moved = {"at": received_at, "id": entry.notification_id}
    execute(engine, "UPDATE ingest.notification SET received_at = :at WHERE notification_id = :id", **moved)
    execute(
        engine,
        "UPDATE ingest.batch SET first_received_at = :at, last_received_at = :at FROM ingest.notification AS logged"
        " WHERE logged.batch_id = batch.batch_id AND logged.notification_id = :id",
        **moved,
    )


@pytest.mark.parametrize(
    ("dropped", "kept", "first_seen_at"),
    [
        # The stop waited over midnight, and an older update came again after it.
        ("SessionUpdateNotification.finished", "SessionUpdateNotification.active", "2026-03-05 00:30+00"),
        # No read shows the register at the start.
        ("session.start.stop.notification.start", "BootNotification", "2026-03-05 00:10:00.2+00"),
        # The clock of the charge point was some hours ahead.
        ("NetworkStatusNotification.ahead", "NetworkStatusNotification.offline", "2026-02-01 00:00+00"),
    ],
)
def test_what_a_dropped_day_brought_after_its_end_is_kept(
    engine: Engine, dropped: str, kept: str, first_seen_at: str
) -> None:
    for day in (4, 5):
        execute(
            engine,
            f"CREATE TABLE ingest.notification_2026030{day} PARTITION OF ingest.notification"
            f" FOR VALUES FROM ('2026-03-0{day} 00:00+00') TO ('2026-03-0{day + 1} 00:00+00')",
        )
    ahead = sample("NetworkStatusNotification.available") | {"timestamp": "2026-03-05T06:00:00Z"}
    (first,) = accept(engine, ahead if dropped.endswith("ahead") else sample(dropped))
    (second,) = accept(engine, sample(kept))
    apply_open_batches(engine)
    move_to(engine, first, "2026-03-04 23:59:59.9+00")
    move_to(engine, second, "2026-03-05 00:10+00")
    for table in ("session", "charging_period", "charge_point"):
        execute(engine, f"UPDATE charging.{table} SET first_seen_at = '{first_seen_at}'")
    for table in ("charge_point_network_observation", "master_observation"):
        execute(engine, f"DELETE FROM charging.{table}")  # their ids are not of the times above
    execute(engine, "SELECT ingest.drop_log_day(DATE '2026-03-05')")
    before = state(engine)["charging.session"] + state(engine)["charging.charge_point"]
    found = differences(compared(engine))
    assert {table for table, (_, extra, different) in found.items() if extra or different} == set()
    swap(engine, "t")
    assert state(engine)["charging.session"] + state(engine)["charging.charge_point"] == before


def test_what_nothing_accounts_for_is_reported_kept_and_read(engine: Engine) -> None:
    whole_fleet(engine)
    execute(engine, "DELETE FROM ingest.refresh_request")
    execute(
        engine,
        "INSERT INTO charging.evse (tenant, evse_id, hardware_status, hardware_at, hardware_version)"
        " VALUES ('t', 5, 'charging', now(), '001:0123456789abcdef')",
    )
    assert differences(compared(engine)) == {"evse": (0, 1, 0)}
    swap(engine, "t")
    assert query(engine, "SELECT hardware_status FROM charging.evse WHERE evse_id = 5") == [
        {"hardware_status": "charging"}
    ]
    assert query(engine, "SELECT kind, entity_id, reason FROM ingest.refresh_request") == [
        {"kind": "evse", "entity_id": 5, "reason": "conflicting"}
    ]


def test_a_rebuild_leaves_other_tenants_alone(engine: Engine) -> None:
    whole_fleet(engine)
    accept(engine, faulted_at(1), tenant="other")
    apply_open_batches(engine)
    execute(engine, "UPDATE charging.evse SET hardware_status = 'spoiled' WHERE tenant = 'other'")
    assert differences(compared(engine)) == {}
    swap(engine, "t")
    assert query(engine, "SELECT hardware_status FROM charging.evse WHERE tenant = 'other'") == [
        {"hardware_status": "spoiled"}
    ]


def test_two_rebuilds_do_not_meet_and_neither_leaves_tables_behind(engine: Engine) -> None:
    with alone(engine):
        for _ in fold_log(engine, scope_of(engine, "t")):
            pass
        with pytest.raises(RebuildError), alone(engine):
            pass
    left = query(engine, "SELECT 1 FROM pg_namespace WHERE nspname = 'charging_rebuild'")
    assert left == []


def test_the_command_reports_differences_and_repairs_them_with_swap(
    tmp_path: Path, database_url: str, redis_url: str, engine: Engine
) -> None:
    write_tenants(tmp_path)
    servers = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    accept(engine, faulted_at(1), tenant="demo")
    apply_open_batches(engine)
    sound = run(tmp_path, "rebuild", **servers)
    assert sound.returncode == 0, sound.stderr
    assert "demo: the live state equals the rebuilt one." in sound.stdout
    execute(engine, "UPDATE charging.evse SET hardware_status = 'spoiled'")
    wrong = run(tmp_path, "rebuild", "--tenant", "demo", **servers)
    assert wrong.returncode == 1
    assert "evse 902: hardware_status spoiled → faulted" in wrong.stdout
    assert query(engine, "SELECT hardware_status FROM charging.evse") == [{"hardware_status": "spoiled"}]
    repaired = run(tmp_path, "rebuild", "--tenant", "demo", "--swap", **servers)
    assert repaired.returncode == 0
    assert "1 rows repaired" in repaired.stdout
    assert query(engine, "SELECT hardware_status FROM charging.evse") == [{"hardware_status": "faulted"}]
    assert json.dumps(query(engine, "SELECT 1 FROM pg_namespace WHERE nspname = 'charging_rebuild'")) == "[]"
