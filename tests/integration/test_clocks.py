"""A charge point whose clock is far ahead pins nothing, and what it said stays as it said it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage.log.scope import Scope
from tests.support.ampeco import shown
from tests.support.deployment import Deployment
from tests.support.facts import recent, sample
from tests.support.service import Service
from workers.maintenance.replay import replay

FAR_AHEAD = "2093-03-04T07:00:00+00:00"


def status(timestamp: str | datetime, word: str) -> dict[str, Any]:
    sent_at = timestamp if isinstance(timestamp, str) else timestamp.isoformat()
    return sample("HardwareStatusNotification.evse") | {"timestamp": sent_at, "hardwareStatus": word}


def row(service: Service) -> dict[str, Any]:
    (found,) = service.query("SELECT hardware_status, hardware_at FROM charging.evse")
    return found


def test_a_later_status_by_the_right_time_stands(service: Service) -> None:
    # Given a charge point whose clock is decades ahead, and is then put right
    service.post(status(FAR_AHEAD, "charging"))
    service.apply()
    assert row(service)["hardware_status"] == "charging"
    assert row(service)["hardware_at"] <= datetime.now(UTC)
    service.post(status(datetime.now(UTC) + timedelta(seconds=1), "available"))
    service.apply()
    # Then the later stands, and the history has what was said
    assert row(service)["hardware_status"] == "available"
    observed = service.query("SELECT observed_at FROM charging.evse_status_observation ORDER BY 1 DESC")
    assert observed[0]["observed_at"] == datetime.fromisoformat(FAR_AHEAD)


def test_of_several_from_far_ahead_the_one_that_came_last_stands(service: Service) -> None:
    for word in ("preparing", "charging", "finishing"):
        assert service.post(status(FAR_AHEAD, word)).status_code == 202
    service.apply()
    assert row(service)["hardware_status"] == "finishing"


def test_a_clock_that_is_some_hours_ahead_orders_its_own_facts(service: Service) -> None:
    # Given local time sent as UTC, and the older status sent again after the newer one
    began_at = datetime.now(UTC) + timedelta(hours=13)
    service.post(status(began_at + timedelta(minutes=1), "charging"))
    service.post(status(began_at, "preparing"))
    service.apply()
    assert row(service) == {"hardware_status": "charging", "hardware_at": began_at + timedelta(minutes=1)}


def test_a_tenant_that_lives_ahead_of_us_is_believed(service: Service) -> None:
    # Given a clock of ours that is years behind the tenant's
    service.post(status(FAR_AHEAD, "charging"), **{"X-Timestamp": "2093-03-04T07:00:01.000000Z"})
    service.apply()
    assert row(service)["hardware_at"] == datetime.fromisoformat(FAR_AHEAD)


@pytest.mark.parametrize("sent", ["", "yesterday", "9" * 400, "2026-13-45T00:00:00Z"])
def test_a_header_without_a_valid_time_harms_nothing(service: Service, sent: str) -> None:
    service.post(status(FAR_AHEAD, "charging"), **{"X-Timestamp": sent})
    service.apply()
    assert row(service)["hardware_at"] <= datetime.now(UTC)
    assert set(service.states().values()) == {("applied", None)}


@pytest.mark.parametrize("timestamp", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"])
def test_the_earliest_and_latest_times_are_stored_and_do_not_outlive_the_next_status(
    service: Service, timestamp: str
) -> None:
    service.post(status(timestamp, "faulted"))
    service.post(status(datetime.now(UTC) + timedelta(seconds=1), "available"))
    service.apply()
    assert row(service)["hardware_status"] == "available"
    assert service.count("charging.evse_status_observation") == 2
    assert service.count("ingest.batch WHERE applied_at IS NULL") == 0


def test_a_replay_ends_in_the_same_rows(service: Service) -> None:
    service.post(status(FAR_AHEAD, "charging"))
    service.post(status(FAR_AHEAD, "finishing"), **{"X-Timestamp": "2026-03-04T07:00:01.000000Z"})
    service.apply()
    stood = service.query("SELECT * FROM charging.evse")
    scope = Scope("demo", datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(minutes=1))
    assert sum(chunk.seen for chunk in replay(service.engine, scope)) == 2
    assert service.query("SELECT * FROM charging.evse") == stood


def test_a_status_log_that_is_far_ahead_is_believed_and_asked_for_once(deployment: Deployment) -> None:
    # Given an EVSE that AMPECO shows with the time of a clock that is far ahead
    resource, log = shown("evse_read"), shown("latest_hardware_status_log")
    resource |= {"hardwareStatus": "charging", "lastHardwareStatusUpdateAt": FAR_AHEAD}
    deployment.ampeco.resources["evses/v2.1/902"] = resource
    deployment.ampeco.resources["evses/v2.0/902/latest-hardware-status-log"] = log | {
        "status": "charging",
        "timestamp": FAR_AHEAD,
    }
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    deployment.refresh()
    # When it is read, then what AMPECO shows stands from then, and its next status from its own time
    assert row(deployment.service)["hardware_status"] == "charging"
    assert row(deployment.service)["hardware_at"] < datetime.fromisoformat(FAR_AHEAD)
    asked = deployment.ampeco.calls["evses/v2.0/902/latest-hardware-status-log"]
    # And another read of the same takes no look into the log
    reads = deployment.ampeco.calls["evses/v2.1/902"]
    deployment.deliver(recent("evse.changed"))
    deployment.refresh()
    assert deployment.ampeco.calls["evses/v2.1/902"] == reads + 1
    assert deployment.ampeco.calls["evses/v2.0/902/latest-hardware-status-log"] == asked
