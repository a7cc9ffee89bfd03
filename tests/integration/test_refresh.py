"""Reading from AMPECO what is unknown or known only in part: politely, and without loss."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from starlette.responses import JSONResponse

from tests.support.deployment import Deployment
from tests.support.facts import recent, sample
from workers.api.context import create_context
from workers.api.pause import paused_for
from workers.broker import create_broker, create_redis
from workers.sync.claimed_reads import MANY_ATTEMPTS
from workers.sync.refresh import refresh_tenant
from workers.wake_ups import wake_refreshes


def test_an_unknown_evse_is_read(deployment: Deployment) -> None:
    # Given a status of an unknown EVSE of an unknown charge point
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    # When what is due is read
    deployment.refresh()
    # Then both are known, the secrets of the charge point are not, and nothing waits but its location
    evse, charge_point = deployment.row("evse"), deployment.row("charge_point")
    assert (evse["physical_reference"], evse["max_power_w"], evse["charge_point_id"]) == ("QC-418-1", 50_000, 418)
    assert (charge_point["name"], charge_point["network_status"]) == ("Quayside 1", "available")
    assert deployment.row("connector")["type"] == "ccs2"
    assert deployment.service.query("SELECT kind FROM ingest.refresh_request") == []
    assert deployment.row("location")["deleted_at"] is not None  # this AMPECO has none


def test_a_status_that_the_resource_contradicts_is_taken_from_the_log_with_its_time(deployment: Deployment) -> None:
    # Given an EVSE that a notification reported as preparing, and that is shown as charging since
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    deployment.refresh()
    # Then the log's status and time stand, and the history has both
    evse = deployment.row("evse")
    assert evse["hardware_status"] == "charging"
    assert evse["hardware_at"].isoformat() == "2026-03-04T07:04:00+00:00"
    history = deployment.service.query(
        "SELECT hardware_status, source FROM charging.evse_status_observation ORDER BY observed_at"
    )
    assert [(row["hardware_status"], row["source"]) for row in history] == [
        ("preparing", "notification"),
        ("charging", "status_log"),
    ]


def test_a_redis_that_is_away_leaves_no_read_leased(deployment: Deployment) -> None:
    # Given a tenant that asks for a pause, and no Redis that takes it
    deployment.ampeco.refusal = (429, {"Retry-After": "7"})
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    with create_redis("redis://127.0.0.1:1") as nowhere:
        deployment.context.redis = nowhere
        deployment.refresh()
    # Then the reads wait for as long as was asked, and nothing holds them for longer
    waiting = deployment.service.query("SELECT lease_expires_at, due_at - now() AS left FROM ingest.refresh_request")
    assert waiting
    assert all(row["lease_expires_at"] is None and row["left"].total_seconds() < 10 for row in waiting)


def test_many_notifications_of_one_entity_cost_one_read(deployment: Deployment) -> None:
    for _ in range(50):
        assert deployment.service.post(sample("evse.changed")).status_code == 202
    deployment.service.apply()
    deployment.refresh()
    assert deployment.ampeco.calls["evses/v2.1/902"] == 1


def test_a_session_update_that_follows_a_start_saves_the_read(deployment: Deployment) -> None:
    deployment.deliver(sample("session.start.stop.notification.start"), sample("SessionUpdateNotification.active"))
    deployment.refresh()
    assert deployment.ampeco.calls["sessions/v1.0/77120"] == 0
    assert deployment.row("session")["currency"] == "EUR"


def test_a_session_known_by_its_stop_alone_is_read(deployment: Deployment) -> None:
    deployment.deliver(sample("session.start.stop.notification.stop"))
    deployment.refresh()
    session = deployment.row("session")
    assert (session["status"], session["payment_status"], session["meter_stop_wh"]) == ("finished", "paid", 1_222_730)
    assert deployment.row("charging_period")["energy_wh"] == 23_410


def test_a_read_that_shows_an_older_state_than_a_notification_is_repeated_later(deployment: Deployment) -> None:
    # Given an API that lags behind its own notifications
    deployment.ampeco.resources["sessions/v1.0/77120"] |= {
        "lastUpdatedAt": "2026-03-04T07:10:00+00:00",
        "status": "active",
    }
    deployment.deliver(sample("session.start.stop.notification.stop"))
    # When it is read
    deployment.refresh()
    # Then the notification's values stand, and the read is still requested
    assert deployment.row("session")["status"] == "finished"
    (request,) = deployment.service.query("SELECT * FROM ingest.refresh_request WHERE kind = 'session'")
    assert request["last_error"] == "the API still shows an older state"


def test_an_entity_that_is_gone_gets_a_tombstone_and_loses_it_when_it_is_back(deployment: Deployment) -> None:
    # Given an EVSE that is read, then deleted
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    deployment.refresh()
    resource = deployment.ampeco.resources.pop("evses/v2.1/902")
    deployment.deliver(sample("evse.changed") | {"action": "deleted"})
    assert deployment.row("evse")["deleted_at"] is None  # a notice is not proof
    # When it is read
    deployment.refresh()
    # Then its row is still there, tombstoned
    assert deployment.row("evse")["deleted_at"] is not None
    assert deployment.row("evse")["physical_reference"] == "QC-418-1"
    # And when it is back, the tombstone goes
    deployment.ampeco.resources["evses/v2.1/902"] = resource
    deployment.deliver(sample("evse.changed") | {"lastUpdatedAt": "2026-03-04T07:30:00+00:00"})
    deployment.refresh()
    assert deployment.row("evse")["deleted_at"] is None


def test_a_connector_that_is_no_longer_listed_gets_a_tombstone(deployment: Deployment) -> None:
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    deployment.refresh()
    deployment.ampeco.resources["evses/v2.1/902"] |= {"connectors": [], "lastUpdatedAt": "2026-03-04T07:30:00+00:00"}
    deployment.deliver(recent("evse.changed"))
    deployment.refresh()
    assert deployment.row("connector")["deleted_at"] is not None


@pytest.mark.parametrize(
    ("refusal", "least_pause"), [((429, {"Retry-After": "7"}), 6), ((500, {}), 5), ((401, {}), 50)]
)
def test_a_refusal_pauses_the_tenant_for_every_process_and_loses_nothing(
    deployment: Deployment, refusal: tuple[int, dict[str, str]], least_pause: float
) -> None:
    # Given a tenant that refuses
    deployment.ampeco.refusal = refusal
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    before = deployment.waiting()
    # When a process reads
    deployment.refresh()
    calls = deployment.ampeco.calls.total()
    # Then the pause holds, for any process
    assert paused_for(deployment.context.redis, "demo") > least_pause
    with create_context(deployment.service.settings, process="another") as another:
        refresh_tenant(another, "demo")
        assert wake_refreshes(another, create_broker(another.redis)) == 0
    assert deployment.ampeco.calls.total() == calls
    # And nothing is lost: once it answers again, everything is read
    assert deployment.waiting() == before
    deployment.ampeco.refusal = None
    deployment.context.redis.flushdb()
    while deployment.refresh():
        pass
    assert deployment.row("evse")["physical_reference"] == "QC-418-1"
    assert deployment.waiting() == 0


def test_a_tenant_that_refuses_stops_no_other(deployment: Deployment) -> None:
    # Given two tenants, of which one's token is refused
    deployment.deliver(sample("HardwareStatusNotification.evse"), tenant="other")
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    deployment.refresh(tenant="other")
    assert paused_for(deployment.context.redis, "other") > 0
    # When the other is read, then it is not held up
    deployment.refresh()
    assert deployment.row("evse")["physical_reference"] == "QC-418-1"


def test_an_unreadable_entity_is_left_for_later_and_the_rest_is_read(deployment: Deployment) -> None:
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    deployment.ampeco.resources["charge-points/v2.0/418"] = {"id": "not a number"}
    deployment.refresh()
    assert deployment.row("evse")["physical_reference"] == "QC-418-1"
    (request,) = deployment.service.query("SELECT * FROM ingest.refresh_request")
    assert (request["kind"], request["attempts"]) == ("charge_point", 1)
    assert request["last_error"]


@pytest.mark.parametrize(("attempts", "hours"), [(20, 1), (MANY_ATTEMPTS, 24)], ids=["a day", "two days"])
def test_what_cannot_be_read_is_tried_hourly_and_in_the_end_daily(
    deployment: Deployment, attempts: int, hours: int
) -> None:
    # Given an EVSE whose answer cannot be understood, and so many attempts
    deployment.ampeco.resources["evses/v2.1/902"] = {"id": "no number"}
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    with deployment.service.engine.begin() as connection:
        connection.execute(text("UPDATE ingest.refresh_request SET attempts = :n WHERE kind = 'evse'"), {"n": attempts})
    deployment.refresh()
    (left,) = deployment.service.query(
        "SELECT extract(epoch FROM due_at - now()) / 3600 AS hours FROM ingest.refresh_request WHERE kind = 'evse'"
    )
    assert 0.7 * hours < left["hours"] < 1.3 * hours


def test_secrets_of_a_resource_are_in_no_row(deployment: Deployment) -> None:
    deployment.ampeco.resources["charge-points/v2.0/418"] |= {
        "pin": "secret-pin",
        "sharingCode": "share-me",
        "network": {"id": "VM50-000731", "protocol": "ocpp 1.6", "password": "ocpp-secret"},
    }
    deployment.deliver(sample("NetworkStatusNotification.available"))
    deployment.refresh()
    kept = repr(deployment.row("charge_point"))
    assert "VM50-000731" in kept
    assert not any(secret in kept for secret in ("secret-pin", "share-me", "ocpp-secret"))


def test_waking_is_done_once_for_all_processes(deployment: Deployment) -> None:
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    broker = create_broker(deployment.context.redis)
    woken = [wake_refreshes(deployment.context, broker) for _ in range(3)]
    assert woken == [1, 0, 0]


def fleet(deployment: Deployment, *evse_ids: int) -> None:
    """EVSEs that are known, and have changed since."""
    log = deployment.ampeco.resources["evses/v2.0/902/latest-hardware-status-log"]
    resource = deployment.ampeco.resources["evses/v2.1/902"]
    for evse_id in evse_ids:
        deployment.ampeco.resources[f"evses/v2.1/{evse_id}"] = resource | {"id": evse_id, "connectors": []}
        deployment.ampeco.resources[f"evses/v2.0/{evse_id}/latest-hardware-status-log"] = log
    deployment.deliver(*(sample("HardwareStatusNotification.evse") | {"evseId": evse_id} for evse_id in evse_ids))
    while deployment.refresh():
        pass
    deployment.deliver(*(recent("evse.changed") | {"evseId": evse_id} for evse_id in evse_ids))


def waiting_evses(deployment: Deployment) -> dict[int, tuple[bool, str | None]]:
    """The EVSEs that are still to be read: whether no process has claimed them, and why they were not read."""
    found = deployment.service.query(
        "SELECT entity_id, lease_expires_at IS NULL AS is_free, last_error FROM ingest.refresh_request"
        " WHERE kind = 'evse' ORDER BY entity_id"
    )
    return {row["entity_id"]: (row["is_free"], row["last_error"]) for row in found}


@pytest.mark.parametrize("code", [500, 503, 401])
def test_what_a_page_shows_is_stored_whatever_its_status_logs_answer(deployment: Deployment, code: int) -> None:
    # Given three EVSEs that one listing shows with another status, of which the log of the second fails
    fleet(deployment, 902, 903, 904)
    shown = [
        deployment.ampeco.resources[f"evses/v2.1/{evse_id}"]
        | {"hardwareStatus": "faulted", "lastUpdatedAt": "2026-03-04T09:00:00+00:00", "physicalReference": "new"}
        for evse_id in (902, 903, 904)
    ]
    deployment.ampeco.answers["evses/v2.1"] = lambda _: JSONResponse({"data": shown, "links": {"next": None}})
    failing = "evses/v2.0/903/latest-hardware-status-log"
    deployment.ampeco.answers[failing] = lambda _: JSONResponse({"message": "Server Error"}, code)
    # When they are read
    deployment.refresh()
    # Then all are as the page shows them, and only what speaks for the whole tenant pauses it
    found = deployment.service.query(
        "SELECT evse_id FROM charging.evse WHERE physical_reference = 'new' ORDER BY evse_id"
    )
    assert [row["evse_id"] for row in found] == [902, 903, 904]
    failed = deployment.service.query("SELECT hardware_status FROM charging.evse WHERE evse_id = 903")
    assert failed == [{"hardware_status": "faulted"}]
    assert waiting_evses(deployment) == {}
    assert (paused_for(deployment.context.redis, "demo") > 0) == (code != HTTPStatus.INTERNAL_SERVER_ERROR)


REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.evse_id = 903 THEN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON charging.evse FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "one by one"])
def test_claimed_reads_are_released_when_postgres_fails(deployment: Deployment, listed: bool) -> None:
    # Given three EVSEs, of which one meets a Postgres that gives up a statement
    fleet(deployment, 902, 903, 904)
    for evse_id in (902, 903, 904):
        deployment.ampeco.resources[f"evses/v2.1/{evse_id}"] |= {"lastUpdatedAt": "2026-03-04T09:00:00+00:00"}
    if listed:
        shown = [deployment.ampeco.resources[f"evses/v2.1/{evse_id}"] for evse_id in (902, 903, 904)]
        deployment.ampeco.answers["evses/v2.1"] = lambda _: JSONResponse({"data": shown, "links": {"next": None}})
    with deployment.service.engine.begin() as connection:
        connection.execute(text(REFUSE.format(code="57014")))
    # When they are read
    with pytest.raises(DBAPIError):
        deployment.refresh()
    # Then what was not stored is claimed by no process, and was not at fault
    left = waiting_evses(deployment)
    assert 903 in left
    assert set(left.values()) == {(True, None)}
    # And it is read once Postgres works
    with deployment.service.engine.begin() as connection:
        connection.execute(text("DROP FUNCTION refuse CASCADE"))
    while deployment.refresh():
        pass
    assert waiting_evses(deployment) == {}


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "one by one"])
def test_one_that_postgres_refuses_holds_up_no_other(deployment: Deployment, listed: bool) -> None:
    fleet(deployment, 902, 903, 904)
    for evse_id in (902, 903, 904):
        deployment.ampeco.resources[f"evses/v2.1/{evse_id}"] |= {"lastUpdatedAt": "2026-03-04T09:00:00+00:00"}
    if listed:
        shown = [deployment.ampeco.resources[f"evses/v2.1/{evse_id}"] for evse_id in (902, 903, 904)]
        deployment.ampeco.answers["evses/v2.1"] = lambda _: JSONResponse({"data": shown, "links": {"next": None}})
    with deployment.service.engine.begin() as connection:
        connection.execute(text(REFUSE.format(code="22003")))
    deployment.refresh()
    left = waiting_evses(deployment)
    assert left.keys() == {903}
    assert left[903] == (True, "NumericValueOutOfRange: no")
