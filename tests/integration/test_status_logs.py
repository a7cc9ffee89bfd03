"""Statuses whose notifications were lost: what the status logs bring back, within the calls that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ampeco.api.client import Client
from storage.sync import sync_runs
from tests.support.ampeco import shown
from tests.support.deployment import Deployment
from tests.support.facts import sample
from tests.support.tenant import Tenant, tenant
from workers.api.pause import paused_for
from workers.api.rate_limit import CallDeferredError
from workers.sync.reconcile import sync_pages
from workers.sync.status_logs import read_status_logs

EVSE, EVSE_LOG, EVSE_LATEST = (
    "evses/v2.1/902",
    "evses/v2.0/902/hardware-status-logs",
    "evses/v2.0/902/latest-hardware-status-log",
)
FAULT = {"status": "faulted", "errorCode": "GroundFailure", "info": "RCD trip", "vendorErrorCode": "E-217"}


def ago(minutes: float) -> datetime:
    """A time of the recent past; AMPECO's clock is ours here."""
    return (datetime.now(UTC) - timedelta(minutes=minutes)).replace(microsecond=0)


def entry(at: datetime, status: str, **fields: Any) -> dict[str, Any]:
    return {"status": status, "timestamp": at.isoformat(), "errorCode": "NoError"} | fields


def keep_log(deployment: Deployment, *entries: dict[str, Any], evse_id: int = 902) -> list[str]:
    """Let AMPECO keep this log of an EVSE, oldest first; returns where the times go that it is asked from."""
    asked: list[str] = []

    def listing(request: Request) -> Response:
        since = request.query_params["filter[createdAfter]"]
        asked.append(since)
        later = [one for one in entries if datetime.fromisoformat(one["timestamp"]) >= datetime.fromisoformat(since)]
        return JSONResponse({"data": later, "links": {"next": None}})

    deployment.ampeco.answers[f"evses/v2.0/{evse_id}/hardware-status-logs"] = listing
    deployment.ampeco.resources[f"evses/v2.0/{evse_id}/latest-hardware-status-log"] = entries[-1]
    return asked


def list_evses(deployment: Deployment, *statuses: str) -> None:
    """Let AMPECO list EVSEs from 902 on, with these statuses."""
    listed = [
        shown("evse_read") | {"id": 902 + number, "connectors": [], "hardwareStatus": status}
        for number, status in enumerate(statuses)
    ]
    deployment.ampeco.everything["evses/v2.1"] = listed
    deployment.ampeco.resources |= {f"evses/v2.1/{one['id']}": one for one in listed}


def sync_run(deployment: Deployment, kind: str = "evse") -> None:
    with deployment.service.engine.begin() as connection:
        begun = sync_runs.begin(connection, "demo", kind, "reconcile", None)
    assert begun is not None
    list(sync_pages(deployment.context, begun, reason="reconcile"))


def deliver_status(deployment: Deployment, at: datetime, status: str, evse_id: int = 902, **fields: Any) -> None:
    body = sample("HardwareStatusNotification.evse") | {"timestamp": at.isoformat(), "hardwareStatus": status}
    deployment.deliver(body | {"evseId": evse_id} | fields)


def evse(deployment: Deployment, evse_id: int = 902) -> dict[str, Any]:
    (row,) = deployment.service.query(f"SELECT * FROM charging.evse WHERE evse_id = {evse_id}")
    return row


def history(deployment: Deployment, evse_id: int = 902, source: str | None = None) -> list[str]:
    """The statuses that were observed, oldest first."""
    of_source = f" AND source = '{source}'" if source else ""
    rows = deployment.service.query(
        "SELECT hardware_status FROM charging.evse_status_observation"
        f" WHERE evse_id = {evse_id}{of_source} ORDER BY observed_at"
    )
    return [row["hardware_status"] for row in rows]


def log_calls(deployment: Deployment) -> int:
    """Looks into the logs of EVSEs."""
    return sum(calls for path, calls in deployment.ampeco.calls.items() if path.startswith("evses/v2.0/"))


def allow(deployment: Deployment, calls: int) -> None:
    """Let so many calls pass, and hold the others back."""
    left = [calls]
    while deployment.context._clients:
        deployment.context._clients.popitem()[1].close()

    def spend() -> None:
        if not left[0]:
            raise CallDeferredError(0.25, "6 calls a minute are used up")
        left[0] -= 1

    deployment.context.make_client = lambda tenant, **shared: Client(
        tenant.url, tenant.api_token(), **(shared | {"before_call": spend})
    )


def execute(deployment: Deployment | Tenant, statement: str) -> None:
    with deployment.service.engine.begin() as connection:
        connection.execute(text(statement))


class TestFirstListed:
    """What a listing shows of an EVSE of which nothing is known."""

    @pytest.fixture(params=["sync run", "refresh"])
    def read(self, request: pytest.FixtureRequest, deployment: Deployment) -> Callable[[], None]:
        """Read a page of the listing, for a sync run or for notifications."""
        if request.param == "sync run":
            return lambda: sync_run(deployment)

        def refresh() -> None:
            for evse_id in (902, 903, 904):
                deployment.deliver(sample("evse.changed") | {"evseId": evse_id})
            path = "evses/v2.1"
            deployment.ampeco.answers[path] = lambda _request: JSONResponse(
                {"data": deployment.ampeco.everything[path]}
            )
            deployment.refresh()

        return refresh

    def test_a_faulted_one_has_its_error_and_the_time_of_it(
        self, deployment: Deployment, read: Callable[[], None]
    ) -> None:
        since = ago(30)
        list_evses(deployment, "faulted", "available", "charging")
        keep_log(deployment, entry(ago(90), "available"), entry(since, **FAULT))
        read()
        row = evse(deployment)
        assert (row["hardware_status"], row["error_code"]) == ("faulted", "GroundFailure")
        assert (row["error_info"], row["vendor_error_code"]) == ("RCD trip", "E-217")
        assert row["hardware_at"] == row["hardware_covered_from_at"] == since
        # The others cost no call: what was before they were listed is not covered
        assert log_calls(deployment) == 1
        for evse_id, status in ((903, "available"), (904, "charging")):
            row = evse(deployment, evse_id)
            assert row["hardware_status"] == status
            assert row["hardware_at"] == row["hardware_covered_from_at"] == row["hardware_log_at"]
        assert read_status_logs(deployment.context) == 0

    def test_where_no_call_is_left_it_gets_its_error_later(
        self, deployment: Deployment, read: Callable[[], None]
    ) -> None:
        list_evses(deployment, "faulted", "available", "charging")
        keep_log(deployment, entry(ago(30), **FAULT))
        allow(deployment, 1)
        read()
        row = evse(deployment)
        assert (row["hardware_status"], row["error_code"]) == ("faulted", None)
        assert row["hardware_log_at"] < row["hardware_at"]  # not covered
        assert evse(deployment, 904)["hardware_status"] == "charging"
        allow(deployment, 10)
        assert read_status_logs(deployment.context) == 1
        row = evse(deployment)
        assert (row["hardware_status"], row["error_code"], row["vendor_error_code"]) == (
            "faulted",
            "GroundFailure",
            "E-217",
        )
        assert row["hardware_log_at"] >= row["hardware_at"]
        assert read_status_logs(deployment.context) == 0


def test_a_charge_point_that_is_first_listed_with_an_error_has_all_of_it(deployment: Deployment) -> None:
    deployment.ampeco.everything["charge-points/v2.0"] = [
        shown("charge_point_read") | {"hardwareStatus": "unavailable", "vendorErrorCode": "E-217"}
    ]
    latest = "charge-points/v2.0/418/latest-hardware-status-log"
    deployment.ampeco.resources[latest] = entry(ago(30), **FAULT | {"status": "unavailable"})
    sync_run(deployment, "charge_point")
    row = deployment.row("charge_point")
    assert (row["hardware_status"], row["error_code"], row["vendor_error_code"]) == (
        "unavailable",
        "GroundFailure",
        "E-217",
    )


def test_one_look_brings_back_all_that_was_lost_since_the_last(deployment: Deployment) -> None:
    # Given an EVSE that was looked at, and a visit of which two of four statuses are lost
    list_evses(deployment, "available")
    sync_run(deployment)
    before = evse(deployment)["hardware_at"]
    times = [before + timedelta(seconds=number) for number in range(1, 5)]
    visit = list(zip(times, ("preparing", "charging", "suspendedEV", "finishing"), strict=True))
    asked = keep_log(deployment, *(entry(at, status) for at, status in visit))
    deliver_status(deployment, *visit[0])
    deliver_status(deployment, *visit[3])
    assert history(deployment) == ["available", "preparing", "finishing"]
    # When a listing then shows a status of which there was no notification
    list_evses(deployment, "available")
    latest = entry(times[3] + timedelta(seconds=1), "available")
    asked = keep_log(deployment, *(entry(at, status) for at, status in visit), latest)
    sync_run(deployment)
    # Then one call reads it, and those that were missed before
    assert history(deployment) == ["available", "preparing", "charging", "suspendedEV", "finishing", "available"]
    assert len(asked) == log_calls(deployment) == 1
    assert datetime.fromisoformat(asked[0]) < before
    row = evse(deployment)
    assert row["hardware_covered_from_at"] == before
    assert row["hardware_log_at"] > before


def test_what_nothing_shows_to_be_lost_is_looked_for_within_the_hour(deployment: Deployment) -> None:
    # Given an EVSE that sent the beginning and the end of a visit
    list_evses(deployment, "available")
    visit = [(ago(50), "preparing"), (ago(49), "charging"), (ago(10), "finishing"), (ago(5), "available")]
    keep_log(deployment, *(entry(at, status) for at, status in visit))
    deliver_status(deployment, *visit[0])
    deliver_status(deployment, *visit[3])
    sync_run(deployment)
    assert log_calls(deployment) == 0
    # When its log is looked into
    assert read_status_logs(deployment.context) == 1
    # Then what was lost is in the history, and it is not looked into again until an hour later
    assert history(deployment) == [status for _, status in visit]
    assert history(deployment, source="status_log") == ["charging", "finishing"]
    deliver_status(deployment, ago(0), "preparing")
    assert read_status_logs(deployment.context) == 0
    execute(deployment, "UPDATE charging.evse SET hardware_log_at = hardware_log_at - interval '61 minutes'")
    assert read_status_logs(deployment.context) == 1
    # Nor is the log of one that has sent nothing since
    execute(
        deployment,
        "UPDATE charging.evse SET hardware_log_at = hardware_at, hardware_at = hardware_at - interval '1 hour'",
    )
    assert read_status_logs(deployment.context) == 0


def test_statuses_beyond_the_calls_of_a_page_are_taken_as_shown_and_looked_for_later(deployment: Deployment) -> None:
    # Given EVSEs of which each changed without a word, and a listing of them all
    known, now_shown = ["available"] * 6, ["charging", "faulted", "preparing", "charging", "faulted", "finishing"]
    list_evses(deployment, *known)
    sync_run(deployment)
    before = evse(deployment)["hardware_at"]
    for number, status in enumerate(now_shown):
        at = before + timedelta(seconds=1)
        fields = FAULT if status == "faulted" else {"status": status}
        keep_log(deployment, entry(at, "preparing"), entry(at + timedelta(seconds=1), **fields), evse_id=902 + number)
    # When there are calls for the page and for two of their logs
    allow(deployment, 3)
    list_evses(deployment, *now_shown)
    sync_run(deployment)
    # Then the page is written, every status stands, and the sync run came to its end
    rows = deployment.service.query("SELECT * FROM charging.evse ORDER BY evse_id")
    assert [row["hardware_status"] for row in rows] == now_shown
    assert deployment.service.count("ingest.sync_run WHERE finished_at IS NULL") == 0
    assert [row["hardware_log_at"] >= row["hardware_at"] for row in rows] == [True, True, *[False] * 4]
    # And what was not looked for is, once there are calls
    allow(deployment, 3)
    assert read_status_logs(deployment.context) == 3
    allow(deployment, 3)
    assert read_status_logs(deployment.context) == 1
    rows = deployment.service.query("SELECT * FROM charging.evse ORDER BY evse_id")
    assert all(row["hardware_log_at"] >= row["hardware_at"] for row in rows)
    assert [row["hardware_status"] for row in rows] == now_shown
    assert [row["error_code"] for row in rows if row["hardware_status"] == "faulted"] == ["GroundFailure"] * 2
    for number in range(6):
        assert "preparing" in history(deployment, 902 + number, "status_log")


@pytest.mark.parametrize("status", [401, 429, 503])
def test_a_refusal_in_the_midst_of_a_page_loses_no_page_and_pauses_the_tenant(
    deployment: Deployment, status: int
) -> None:
    list_evses(deployment, "available", "available")
    sync_run(deployment)
    list_evses(deployment, "charging", "charging")
    answer = JSONResponse({"message": "no"}, status, headers={"Retry-After": "7"})
    deployment.ampeco.answers[EVSE_LOG] = lambda _: answer
    sync_run(deployment)
    # The page that is stored counts once, and the sync run ends with it
    (last,) = deployment.service.query("SELECT * FROM ingest.sync_run ORDER BY sync_run_id DESC LIMIT 1")
    assert (last["pages"], last["compared"], last["last_error"]) == (1, 2, None)
    assert last["finished_at"] is not None
    assert {evse(deployment, one)["hardware_status"] for one in (902, 903)} == {"charging"}
    assert paused_for(deployment.context.redis, "demo") > 5
    assert read_status_logs(deployment.context) == 0


@pytest.mark.parametrize(
    "answer",
    [JSONResponse({"data": [{"status": 7}], "links": {"next": None}}), JSONResponse({"message": "oops"}, 500)],
    ids=["unreadable", "failing"],
)
def test_one_log_that_fails_holds_up_no_other_status(deployment: Deployment, answer: Response) -> None:
    list_evses(deployment, "available", "available")
    sync_run(deployment)
    at = evse(deployment)["hardware_at"] + timedelta(seconds=1)
    keep_log(deployment, entry(at, "preparing"), entry(at + timedelta(seconds=1), "charging"), evse_id=903)
    list_evses(deployment, "charging", "charging")
    deployment.ampeco.answers[EVSE_LOG] = lambda _: answer
    sync_run(deployment)
    assert {evse(deployment, one)["hardware_status"] for one in (902, 903)} == {"charging"}
    assert history(deployment, 903, "status_log") == ["preparing", "charging"]
    # And it is tried once more, not for ever
    read_status_logs(deployment.context)
    calls = log_calls(deployment)
    assert read_status_logs(deployment.context) == 0
    assert log_calls(deployment) == calls
    assert evse(deployment)["hardware_covered_from_at"] == evse(deployment)["hardware_log_at"]


def test_a_tenant_without_logs_is_asked_once_and_nothing_is_covered(deployment: Deployment) -> None:
    del deployment.ampeco.resources[EVSE_LATEST]
    deployment.ampeco.answers[EVSE_LOG] = lambda _: JSONResponse({"message": "This action is unauthorized."}, 403)
    list_evses(deployment, "available")
    sync_run(deployment)
    list_evses(deployment, "charging")
    sync_run(deployment)
    row = evse(deployment)
    assert (row["hardware_status"], row["error_code"]) == ("charging", None)
    assert row["hardware_covered_from_at"] == row["hardware_log_at"]
    calls = log_calls(deployment)
    sync_run(deployment)
    assert read_status_logs(deployment.context) == 0
    assert log_calls(deployment) == calls


def test_where_ampeco_shows_when_a_status_changed_the_log_is_read_once_for_each_change(deployment: Deployment) -> None:
    # Given a release of AMPECO that shows the time, a little later than the charge point's
    fact_at, changed_at = ago(20), ago(10)
    deliver_status(deployment, fact_at, "available")
    list_evses(deployment, "available")
    deployment.ampeco.everything["evses/v2.1"][0]["lastHardwareStatusUpdateAt"] = changed_at.isoformat()
    keep_log(deployment, entry(fact_at, "available"), entry(ago(15), **FAULT), entry(changed_at, "available"))
    # When it is synced again and again
    for _ in range(3):
        sync_run(deployment)
    # Then the status that came and went unseen is in the history, for one call
    assert history(deployment) == ["available", "faulted", "available"]
    assert log_calls(deployment) == 1
    row = evse(deployment)
    assert (row["hardware_at"], row["hardware_status"], row["error_code"]) == (changed_at, "available", "NoError")


def test_a_fault_of_a_notification_keeps_its_error_where_only_its_time_differs(deployment: Deployment) -> None:
    # Given a fault of a notification, and a tenant without logs that shows another time of it
    deliver_status(deployment, ago(20), "faulted", errorCode="GroundFailure", vendorErrorCode="E-217")
    del deployment.ampeco.resources[EVSE_LATEST]
    list_evses(deployment, "faulted")
    deployment.ampeco.everything["evses/v2.1"][0]["lastHardwareStatusUpdateAt"] = ago(19).isoformat()
    sync_run(deployment)
    row = evse(deployment)
    assert (row["hardware_status"], row["error_code"], row["vendor_error_code"]) == (
        "faulted",
        "GroundFailure",
        "E-217",
    )


def test_a_long_log_covers_what_was_read_of_it(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.sync.statuses.MAX_LOG_ENTRIES", 3)
    times = [ago(30 - number) for number in range(5)]
    deliver_status(deployment, ago(40), "available")
    keep_log(deployment, *(entry(at, "charging" if number % 2 else "preparing") for number, at in enumerate(times)))
    execute(
        deployment,
        "UPDATE charging.evse SET hardware_covered_from_at = hardware_at, hardware_log_at = hardware_at,"
        " hardware_at = hardware_at + interval '1 second', hardware_version = '1' || hardware_version",
    )
    assert read_status_logs(deployment.context) == 1
    row = evse(deployment)
    assert (row["hardware_covered_from_at"], row["hardware_log_at"]) == (times[0], times[2])


@pytest.fixture
def living(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Tenant]:
    with tenant(database_url, redis_url, tmp_path, start=datetime(2026, 3, 4, 8, tzinfo=UTC), size=10) as made:
        yield made


def test_every_lost_status_of_a_living_tenant_comes_back(living: Tenant) -> None:
    # Given a tenant that is known whole, and hours of which a fifth of the notifications is lost
    living.sync_run(full=True)
    living.settle()
    began_at, chance = living.now, Random(3)
    for _ in range(4):
        living.live(60)
        living.lose(0.2, chance)
        living.deliver(1.0, chance, in_order=True)
        living.service.apply()
        living.sync_run(full=False)
    # When the logs of all that changed are looked into, as an hour later
    execute(living, "UPDATE charging.evse SET hardware_log_at = hardware_covered_from_at")
    while read_status_logs(living.context):
        pass
    # Then each status of each EVSE is in the history
    for one in living.simulator.fleet.tenant.live_evses():
        expected = {(change.at, change.status) for change in one.hardware if change.at > began_at}
        rows = living.service.query(
            f"SELECT observed_at, hardware_status FROM charging.evse_status_observation WHERE evse_id = {one.id}"
        )
        assert expected <= {(row["observed_at"], row["hardware_status"]) for row in rows}
    assert living.differences()[1] == []
