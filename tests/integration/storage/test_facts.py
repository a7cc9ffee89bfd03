"""What sources say, where saying it otherwise went wrong once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from ampeco.resources.charging import Evse
from storage.state.changes import ChangeSet
from storage.state.facts import evse_facts, read_fact_factory
from storage.state.fold import Fold
from storage.state.upsert import upsert
from tests.support.ampeco import shown
from tests.support.facts import apply, sample


def test_the_snapshot_of_a_charge_point_gives_way_to_the_read_of_its_evse(connection: Connection) -> None:
    # Given an EVSE in the deprecated snapshot of a charge point, which is later than the EVSE's own last change
    snapshot = sample("ChargePointChangedNotification")
    snapshot["chargePoint"]["evses"][0]["id"] = 902
    apply(connection, snapshot)
    # When its own read comes
    raw = shown("evse_read")
    raw["lastUpdatedAt"] = "2020-01-01T00:00:00Z"
    found = ChangeSet()
    began_at = datetime.fromisoformat("2026-03-04T08:00:00Z")
    evse_facts(found, Evse.model_validate(raw), raw, read_fact_factory(began_at))
    upsert(connection, "t", Fold(found.facts))
    # Then what the read shows stands
    reference = connection.execute(
        text("SELECT physical_reference FROM charging.evse WHERE evse_id = 902")
    ).scalar_one()
    assert reference == raw["physicalReference"]
