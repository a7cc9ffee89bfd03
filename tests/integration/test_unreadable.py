"""An unreadable value is null, kept as JSON and counted; everything else of the notification is in the tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from storage.sync import sync_runs
from tests.support.commands import run
from tests.support.deployment import Deployment
from tests.support.facts import apply, recent, row, rows, sample, wanted
from tests.support.log import accept, query
from tests.support.service import write_tenants
from workers.apply.apply import apply_open_batches
from workers.sync.reconcile import sync_pages
from workers.sync.statuses import FIRST_LOOK

ZERO_DATE = "-0001-11-30T00:00:00Z"
JUNK = [ZERO_DATE, "", "+02", {}, [[]], 10**30, True]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_a_session_is_stored_without_the_value_that_cannot_be_read(engine: Engine, junk: Any) -> None:
    # Given a whole session with one value that cannot be read
    body = sample("SessionUpdateNotification.finished")
    body["session"]["paymentStatusUpdatedAt"] = junk
    accept(engine, body)
    # When it is applied
    apply_open_batches(engine)
    # Then nothing failed, and all else is there
    assert query(engine, "SELECT * FROM ingest.outcome") == []
    (session,) = query(engine, "SELECT * FROM charging.session")
    assert (session["status"], session["energy_wh"], session["amount_with_tax"] is not None) == (
        "finished",
        23_410,
        True,
    )
    # And the value is null, kept as it came, and counted
    assert session["payment_status_updated_at"] is None
    assert session["raw"]["paymentStatusUpdatedAt"] == junk
    (drift,) = query(engine, "SELECT what, model, name, times, shape FROM ingest.unknown_field")
    assert (drift["what"], drift["model"], drift["name"]) == ("value", "Session", "paymentStatusUpdatedAt")
    assert drift["times"] == 1


def test_a_number_that_no_double_holds_is_read_as_any_other(engine: Engine) -> None:
    body = json.dumps(sample("SessionUpdateNotification.finished"))
    body = body.replace('"status": "finished"', '"status": "finished", "receiptId": 1e400, "reason": "half \\ud83d"')
    accept(engine, body.encode())
    apply_open_batches(engine)
    assert query(engine, "SELECT * FROM ingest.outcome") == []
    (session,) = query(engine, "SELECT receipt_id, status, stop_reason, raw FROM charging.session")
    assert (session["receipt_id"], session["status"]) == (None, "finished")
    assert session["raw"]["receiptId"] == "1e400"


def test_status_shows_what_could_not_be_read_and_no_value(
    tmp_path: Path, database_url: str, redis_url: str, engine: Engine
) -> None:
    write_tenants(tmp_path)
    body = sample("SessionUpdateNotification.finished")
    body["session"] |= {"idTag": {"uid": "04A1B2C3D4"}, "currency": ["EUR"]}
    accept(engine, body, body, tenant="demo")
    apply_open_batches(engine)
    ended = run(tmp_path, "status", "--json", DATABASE_URL=database_url, REDIS_URL=redis_url)
    shown = {
        one["name"]: (one["what"], one["model"], one["times"], one["shape"])
        for one in json.loads(ended.stdout)["unknown"]
    }
    assert shown == {
        "idTag": ("value", "Session", 2, "object {uid: text}"),
        "currency": ("value", "Session", 2, "array of text"),
    }
    assert "04A1B2C3D4" not in ended.stdout
    table = run(tmp_path, "status", DATABASE_URL=database_url, REDIS_URL=redis_url)
    assert "value Session.idTag" in table.stdout


class TestStatuses:
    """An unreadable status is no status: null would say that there is none."""

    def test_an_unreadable_hardware_status_leaves_the_known_one_and_asks_for_the_read(
        self, connection: Connection
    ) -> None:
        apply(connection, sample("HardwareStatusNotification.evse"))
        before = row(connection, "evse")
        later = sample("HardwareStatusNotification.evse") | {"timestamp": "2026-03-04T09:00:00Z"}
        apply(connection, later | {"hardwareStatus": {"is": "new"}})
        assert row(connection, "evse") == before
        assert len(rows(connection, "evse_status_observation")) == 1
        assert wanted(connection)["evse", 902] == "changed"
        # While null, as before, says that none was ever reported
        apply(connection, later | {"hardwareStatus": None})
        assert row(connection, "evse")["hardware_status"] is None

    @pytest.mark.parametrize("junk", [None, {}, "x" * 500])
    def test_an_unreadable_network_status_leaves_the_known_one_and_asks_for_the_read(
        self, connection: Connection, junk: Any
    ) -> None:
        apply(connection, sample("NetworkStatusNotification.available"))
        before = row(connection, "charge_point")
        apply(
            connection,
            sample("NetworkStatusNotification.available")
            | {"timestamp": "2026-03-04T09:00:00Z", "networkStatus": junk},
        )
        assert row(connection, "charge_point") == before
        assert wanted(connection)["charge_point", 418] == "changed"

    def test_an_unreadable_error_code_costs_no_more_than_itself(self, connection: Connection) -> None:
        apply(connection, sample("HardwareStatusNotification.faulted") | {"errorCode": {}})
        evse = row(connection, "evse")
        assert (evse["hardware_status"], evse["error_code"]) == ("faulted", None)

    @pytest.mark.parametrize("action", [None, {}, "paused"])
    def test_what_is_neither_start_nor_stop_makes_no_running_session(self, connection: Connection, action: Any) -> None:
        apply(connection, sample("session.start.stop.notification.stop"))
        before = row(connection, "session")
        later = sample("session.start.stop.notification.start") | {"lastUpdatedAt": "2026-03-04T09:00:00Z"}
        apply(connection, later | {"action": action})
        assert row(connection, "session") == before
        assert wanted(connection)["session", 77120] == "changed"


class TestReads:
    def test_one_unreadable_value_keeps_no_entity_out_of_a_listing(self, deployment: Deployment) -> None:
        # Given a listing with an entity that has an unreadable value, one without a clock, and a sound one
        session = deployment.ampeco.resources["sessions/v1.0/77120"]
        deployment.ampeco.everything["sessions/v1.0"] = [
            session | {"id": 1, "stoppedAt": ZERO_DATE, "chargingPeriods": {}},
            session | {"id": 2, "lastUpdatedAt": "+02"},
            session | {"id": 3},
        ]
        with deployment.service.engine.begin() as connection:
            sync_run = sync_runs.begin(connection, "demo", "session", "backfill", None)
        assert sync_run is not None
        # When it is synced
        list(sync_pages(deployment.context, sync_run, reason="backfill"))
        # Then all are stored but the one that nothing orders, which is counted
        stored = deployment.service.query("SELECT session_id, status, stopped_at FROM charging.session ORDER BY 1")
        assert [(one["session_id"], one["status"]) for one in stored] == [
            (1, session["status"]),
            (3, session["status"]),
        ]
        assert stored[0]["stopped_at"] is None
        assert sync_run.stats.unreadable == 1
        drift = deployment.service.query("SELECT name FROM ingest.unknown_field WHERE what = 'value' ORDER BY 1")
        assert [one["name"] for one in drift] == ["chargingPeriods", "stoppedAt"]

    @pytest.mark.parametrize("broken", [{}, [{"energy": 5}, {"id": 2}], "none"])
    def test_a_child_is_gone_only_where_the_whole_list_was_read(self, deployment: Deployment, broken: Any) -> None:
        # Given an EVSE with two connectors
        evse = deployment.ampeco.resources["evses/v2.1/902"]
        evse["connectors"] = [{"id": 1, "type": "ccs2"}, {"id": 2, "type": "type2"}]
        deployment.deliver(recent("evse.changed"))
        deployment.refresh()
        # When a part of its list cannot be read any more
        evse["connectors"] = broken
        deployment.deliver(recent("evse.changed"))
        deployment.refresh()
        # Then both are there: the unreadable one may be either
        gone = "SELECT connector_id, deleted_at FROM charging.connector ORDER BY 1"
        assert [(one["connector_id"], one["deleted_at"]) for one in deployment.service.query(gone)] == [
            (1, None),
            (2, None),
        ]
        # And once it is read, what is not listed is gone
        evse["connectors"] = [{"id": 2, "type": "type2"}]
        deployment.deliver(recent("evse.changed"))
        deployment.refresh()
        assert [one["deleted_at"] is None for one in deployment.service.query(gone)] == [False, True]

    def test_an_unreadable_status_is_not_taken_for_none(self, deployment: Deployment) -> None:
        deployment.deliver(sample("HardwareStatusNotification.evse"), sample("NetworkStatusNotification.available"))
        deployment.ampeco.resources["evses/v2.1/902"]["hardwareStatus"] = {"is": "new"}
        deployment.ampeco.resources["charge-points/v2.0/418"]["networkStatus"] = ["new"]
        deployment.deliver(recent("evse.changed"), sample("chargePoint.changed"))
        deployment.refresh()
        while deployment.refresh():
            pass
        assert deployment.row("evse")["hardware_status"] == sample("HardwareStatusNotification.evse")["hardwareStatus"]
        assert deployment.row("charge_point")["network_status"] == "available"

    def test_an_unreadable_entry_of_a_status_log_fails_no_read(self, deployment: Deployment) -> None:
        # Given a status that is not the one that we know, and a log with an entry that cannot be read
        deployment.deliver(sample("HardwareStatusNotification.evse"))
        evse = deployment.ampeco.resources["evses/v2.1/902"]
        evse["hardwareStatus"] = "charging"
        entry = deployment.ampeco.resources["evses/v2.0/902/latest-hardware-status-log"]
        look_from = deployment.row("evse")["hardware_at"] - FIRST_LOOK
        deployment.ampeco.listings["evses/v2.0/902/hardware-status-logs", look_from.strftime("%Y-%m-%dT%H:%M:%SZ")] = [
            entry | {"timestamp": ZERO_DATE, "status": "available"},
            entry | {"timestamp": "2026-03-04T09:30:00Z", "status": "charging"},
        ]
        # When the EVSE is read
        deployment.deliver(recent("evse.changed"))
        deployment.refresh()
        # Then the rest of the log counts
        assert deployment.row("evse")["hardware_status"] == "charging"
        assert deployment.row("evse")["hardware_at"].isoformat() == "2026-03-04T09:30:00+00:00"
        assert deployment.service.query("SELECT * FROM ingest.refresh_request WHERE kind = 'evse'") == []

    def test_a_charge_point_without_a_time_counts_from_its_read(self, deployment: Deployment) -> None:
        deployment.ampeco.resources["charge-points/v2.0/418"] |= {"lastUpdatedAt": ZERO_DATE, "name": "Quay"}
        deployment.deliver(sample("chargePoint.changed"))
        deployment.refresh()
        assert deployment.row("charge_point")["name"] == "Quay"
        assert deployment.row("charge_point")["master_at"] == deployment.row("charge_point")["presence_at"]

    def test_an_unreadable_record_hides_no_other_of_its_reference(self, deployment: Deployment) -> None:
        reference = sample("cdr.received")["id"]
        deployment.ampeco.listings["cdrs/v2.0", reference] = [{"id": {}}, {"id": 3001, "roamingId": reference}]
        deployment.deliver(sample("cdr.received"))
        deployment.refresh()
        assert deployment.row("cdr")["cdr_id"] == 3001
