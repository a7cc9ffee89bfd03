"""A hostile notification fails by itself: no batch hangs, no neighbour waits."""

from __future__ import annotations

from typing import Any

import pytest

from ampeco.privacy.redaction import clean
from runtime.errors import MAX_ERROR
from storage.state import notifications
from storage.state.changes import ChangeSet
from tests.support.facts import sample
from tests.support.hostile import LONG
from tests.support.service import Service, eventually
from workers.apply import apply
from workers.apply.postponing import PostponedError

GOOD = sample("NetworkStatusNotification.available")


def open_batches(service: Service) -> int:
    return service.count("ingest.batch WHERE applied_at IS NULL")


@pytest.mark.parametrize(
    "body",
    [
        sample("HardwareStatusNotification.evse") | {"hardwareStatus": LONG},
        sample("HardwareStatusNotification.chargepoint") | {"errorCode": LONG},
        sample("NetworkStatusNotification.offline") | {"networkStatus": LONG},
    ],
    ids=["hardware status", "error code", "network status"],
)
def test_a_word_too_long_for_an_index_costs_that_word_alone_and_in_one_chunk(
    service: Service, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given one whose word no index holds, and a good one, when both are applied and none may be tried alone
    monkeypatch.setattr(apply, "_apply_one_by_one", None)
    service.post(body)
    service.post(GOOD)
    assert service.apply() == 2
    # Then both are applied, the word is in no table, and counted as unreadable
    assert service.count("ingest.outcome") == 0
    assert service.count("charging.charge_point WHERE network_status = 'available'") == 1
    assert service.count("charging.evse WHERE hardware_status IS NOT NULL") == 0
    assert service.count("ingest.unknown_field") > 0
    assert open_batches(service) == 0


def test_a_reference_too_long_for_an_index_fails_alone_and_in_one_chunk(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given one whose word no index holds, and a good one, when both are applied and none may be tried alone
    monkeypatch.setattr(apply, "_apply_one_by_one", None)
    service.post(sample("cdr.received") | {"id": LONG})
    service.post(GOOD)
    assert service.apply() == 2
    # Then the one failed by its field, the other is in the state, and nothing is open
    (failed,) = service.query("SELECT reason, error FROM ingest.outcome")
    assert failed["reason"] == "not as documented"
    assert "more than 200 characters" in failed["error"]
    assert service.count("charging.charge_point WHERE network_status = 'available'") == 1
    assert open_batches(service) == 0


def test_what_is_beyond_a_limit_of_postgres_fails_and_is_not_tried_for_ever(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a release that lets a word through that no index holds
    lenient = notifications.changes_from_notification

    def changes_from_notification(payload: Any, body: Any, notification_id: Any) -> ChangeSet:
        found = lenient(payload, body, notification_id)
        for row in found.observations.get("evse_status_observation", ()):
            row["hardware_status"] = LONG
        return found

    monkeypatch.setattr(apply, "changes_from_notification", changes_from_notification)
    service.post(sample("HardwareStatusNotification.evse"))
    service.post(GOOD)
    # When both are applied, then the one fails, visibly, and the other is applied
    service.apply()
    (failed,) = service.query("SELECT reason, error FROM ingest.outcome")
    assert (failed["reason"], failed["error"].partition(":")[0]) == ("refused by Postgres", "ProgramLimitExceeded")
    assert service.count("charging.charge_point WHERE network_status = 'available'") == 1
    assert open_batches(service) == 0


def test_what_our_code_cannot_write_waits_alone_for_a_release_that_can(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a release that finds a value for which there is no JSON
    lenient = notifications.changes_from_notification

    def changes_from_notification(payload: Any, body: Any, notification_id: Any) -> ChangeSet:
        found = lenient(payload, body, notification_id)
        for row in found.observations.get("evse_status_observation", ()):
            row["hardware_status"] = object()
        return found

    service.post(sample("HardwareStatusNotification.evse"))
    service.post(GOOD)
    with monkeypatch.context() as patched:
        patched.setattr(apply, "changes_from_notification", changes_from_notification)
        with pytest.raises(PostponedError, match="Type is not JSON serializable: object"):
            service.apply()
    # Then its neighbour does not wait, and it did not fail
    assert service.count("charging.charge_point WHERE network_status = 'available'") == 1
    assert service.count("ingest.outcome") == 0
    assert open_batches(service) == 1
    # When a release comes that can, then it is applied without a replay
    eventually(lambda: service.apply() == 1)
    assert open_batches(service) == 0


def test_the_error_of_a_hostile_name_is_short_and_storable(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(_body: Any) -> Any:
        raise ValueError("no such key: \0\ud800" + "x" * 100_000)

    monkeypatch.setattr(apply, "parse", parse)
    service.post(GOOD)
    service.apply()
    (failed,) = service.query("SELECT error FROM ingest.outcome")
    assert failed["error"].startswith("ValueError: no such key: \ufffd\ufffdx")
    assert len(failed["error"]) == MAX_ERROR
    assert clean(failed["error"]) == failed["error"]
    assert open_batches(service) == 0
