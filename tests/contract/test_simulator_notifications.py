"""Every notification that the simulator sends is one that AMPECO could send."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import jsonschema
import orjson
import pytest

from ampeco.notifications.catalogue import SUBSCRIBABLE
from simulator.fleet.fleet import Fleet
from simulator.settings import TenantSettings
from tests.contract.openapi import payload_schema

START = datetime(2026, 3, 4, tzinfo=UTC)

#: Of thousands of one kind, so many are checked, from the first to the last.
MAX_CHECKED = 600

Bodies = dict[str, list[bytes]]


@pytest.fixture(scope="module")
def sent() -> Bodies:
    """A busy day, and a quiet month for the rare events that it adds."""
    bodies: Bodies = defaultdict(list)
    for one in Fleet(TenantSettings(start=START, evses=24)).advance(START + timedelta(days=1)):
        bodies[one.name].append(one.body)
    rare = TenantSettings(start=START, seed=2, charge_points=10, evses=12, locations=3, sessions_a_day=0.2)
    for one in Fleet(rare).advance(START + timedelta(days=30)):
        if one.name not in ("SessionMeterValuesNotification", "SessionUpdateNotification"):
            bodies[one.name].append(one.body)
    return bodies


def test_every_name_can_be_subscribed_to(sent: Bodies) -> None:
    assert set(sent) <= set(SUBSCRIBABLE)


@pytest.mark.parametrize(
    "name",
    [
        *("session.start.stop.notification", "SessionStartStopNotification", "SessionUpdateNotification"),
        *("SessionMeterValuesNotification", "HardwareStatusNotification", "NetworkStatusNotification"),
        *("BootNotification", "SecurityEventNotification", "chargePoint.changed", "evse.changed"),
        *("LocationChangedNotification", "ChargePointChangedNotification", "authorization.changed"),
        *("AuthorizationNotification", "transaction.changed"),
        *("reservation.changed", "TariffChangedNotification", "UserChangedNotification"),
    ],
)
def test_every_body_fits_its_schema(sent: Bodies, name: str) -> None:
    validator = jsonschema.Draft202012Validator(payload_schema(name))
    known = set(payload_schema(name)["properties"])
    assert sent[name]
    for body in sent[name][:: -(-len(sent[name]) // MAX_CHECKED)]:
        held = orjson.loads(body)
        validator.validate(held)
        assert held["notification"] == name
        assert set(held) <= known
