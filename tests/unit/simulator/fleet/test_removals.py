"""What is moved and removed: notified where AMPECO notifies of it, and shown no more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from simulator.app import Simulator
from tests.unit.simulator.support import RESOURCES, START, TOKEN, call, small

#: The notification of a removal and the path of the resource, by what was removed; AMPECO sends none for a session
#: or a reservation.
REMOVALS = {
    "locations": ("LocationChangedNotification", "locations/v2.0"),
    "authorizations": ("authorization.changed", "authorizations/v2.1"),
    "transactions": ("transaction.changed", "transactions/v1.0"),
    "tariffs": ("TariffChangedNotification", "tariffs/v1.0"),
    "users": ("UserChangedNotification", "users/v1.1"),
    "id_tags": ("idTag.changed", "id-tags/v2.0"),
    "partners": ("partner.changed", "partners/v2.0"),
    "sessions": (None, "sessions/v1.0"),
    "reservations": (None, "reservations/v1.0"),
}


@pytest.fixture(scope="module")
def busy() -> tuple[Simulator, list[dict[str, Any]]]:
    """A tenant after three days of people who move and remove, and what it sent; the tests only look at it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("simulator.fleet.removals.REMOVE_EVERY", timedelta(hours=1))
        patched.setattr("simulator.fleet.removals.MOVE_EVERY", timedelta(minutes=30))
        simulator = Simulator(small(locations=8), token=TOKEN)
        return simulator, [orjson.loads(one.body) for one in simulator.fleet.advance(START + timedelta(days=3))]


def test_every_kind_is_removed_notified_and_shown_no_more(busy: tuple[Simulator, list[dict[str, Any]]]) -> None:
    simulator, sent = busy
    for kind, (name, path) in REMOVALS.items():
        entities = getattr(simulator.fleet.tenant, kind)
        gone = {key for key, entity in entities.items() if entity.is_deleted}
        assert gone, kind
        assert len(gone) < len(entities), kind
        if name is not None:
            assert any(body["notification"] == name and body.get("action") == "deleted" for body in sent), kind
        assert call(simulator, "GET", f"{RESOURCES}/{path}/{min(gone)}").status_code == 404
        listed, query = set(), "cursor=" if kind != "reservations" else "page=1"
        while query:
            page = call(simulator, "GET", f"{RESOURCES}/{path}?{query}").json()
            listed |= {int(one["id"]) for one in page["data"]}
            query = (page["links"]["next"] or "").partition("?")[2]
        assert listed == entities.keys() - gone


def test_no_charge_point_is_left_at_a_location_that_closed(busy: tuple[Simulator, list[dict[str, Any]]]) -> None:
    tenant = busy[0].fleet.tenant
    assert all(not tenant.locations[one.location_id].is_deleted for one in tenant.live_charge_points())


def test_connectors_and_evses_move_and_none_is_lost_or_doubled(busy: tuple[Simulator, list[dict[str, Any]]]) -> None:
    tenant = busy[0].fleet.tenant
    evses = tenant.evses.values()
    assert any(evse.connector_id - evse.id != 100_000 for evse in evses)
    assert len({evse.connector_id for evse in evses}) == len(evses)
    for charge_point_id, ids in tenant.evse_ids.items():
        assert len(set(ids)) == len(ids)
        assert all(tenant.evses[evse_id].charge_point_id == charge_point_id for evse_id in ids)
    assert {evse_id for ids in tenant.evse_ids.values() for evse_id in ids} == tenant.evses.keys()
