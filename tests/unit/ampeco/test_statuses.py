"""A status is one word however it is spelled, and wherever it comes from."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from ampeco.notifications.payloads import HardwareStatus
from ampeco.resources.charging import ChargePoint, Evse, StatusLogEntry
from ampeco.values import HardwareStatusText, SystemStatus

SPELLINGS = {
    "suspendedEV": ["suspendedEV", "suspendedev", "SuspendedEV", "suspended_ev", "suspended EV", " SUSPENDED-EV "],
    "suspendedEVSE": ["suspendedEVSE", "suspended_evse", "SuspendedEvse"],
    "available": ["available", "Available", "AVAILABLE"],
    "occupied": ["occupied", "Occupied"],
    "somethingNew": ["somethingNew"],
}
CASES = [(word, spelling) for word, spellings in SPELLINGS.items() for spelling in spellings]


@pytest.mark.parametrize(("word", "spelling"), CASES)
def test_every_source_has_one_spelling(word: str, spelling: str) -> None:
    assert TypeAdapter(HardwareStatusText).validate_python(spelling) == word
    entry = {"status": spelling, "timestamp": "2026-03-04T07:00:00Z"}
    notification = {"chargePointId": 1, "evseId": 2, "hardwareStatus": spelling, "timestamp": "2026-03-04T07:00:00Z"}
    assert StatusLogEntry.model_validate(entry).status == word
    assert HardwareStatus.model_validate(notification).hardware_status == word
    assert ChargePoint.model_validate({"id": 1, "hardwareStatus": spelling}).hardware_status == word
    assert Evse.model_validate({"id": 2, "chargePointId": 1, "hardwareStatus": spelling}).hardware_status == word


@pytest.mark.parametrize(
    ("spelling", "word"),
    [("active", "enabled"), ("Active", "enabled"), ("out of order", "out_of_order"), ("Out-of-order", "out_of_order")],
)
def test_a_system_status_has_one_spelling(spelling: str, word: str) -> None:
    assert TypeAdapter(SystemStatus).validate_python(spelling) == word
