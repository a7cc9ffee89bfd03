"""A small fleet for tests of the console: its places, and the statuses that they reported."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from storage.clock import clock
from storage.ids import uuid7
from storage.schema.entities import MIRRORS
from storage.state.changes import ChangeSet
from storage.state.fold import Fact, fact_from_read
from storage.write import write_changes
from tests.support.analytics import derive

TENANT = "demo"

#: The ids of the place that tests of every page use.
LOCATION, CHARGE_POINT, EVSE = 7, 71, 711

#: What a name may be at worst: a script, a change of direction, and ten thousand letters.
HOSTILE = "<script>alert(1)</script>'\"\u202e" + "x" * 10_000


def ago(minutes: float) -> datetime:
    """Return the time that was some minutes before now."""
    return clock.now() - timedelta(minutes=minutes)


def write_site(
    engine: Engine,
    *,
    location_id: int = LOCATION,
    charge_point_id: int = CHARGE_POINT,
    evse_ids: Iterable[int] = (EVSE,),
    name: str = "Harbour",
    tenant: str = TENANT,
    **location: Any,
) -> None:
    """Write a location with a charge point and its EVSEs, which were read two days ago, and derive."""
    facts = [
        _read("location", location_id, name=f"{name} location", city="Varna", **location),
        _read(
            "charge_point", charge_point_id, name=f"{name} point", location_id=location_id, network_id=f"{name}-ocpp"
        ),
    ]
    for evse_id in evse_ids:
        facts.append(_read("evse", evse_id, label=f"{name} EVSE {evse_id}", charge_point_id=charge_point_id))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM ingest.uptime"))
        connection.execute(text("INSERT INTO ingest.uptime VALUES (:began, now())"), {"began": ago(60 * 24 * 30)})
        write_changes(connection, tenant, ChangeSet(facts=facts))
    derive(engine, tenant)


def observe(
    engine: Engine,
    minutes_ago: float,
    *,
    evse: tuple[int, str] | None = None,
    network: tuple[int, str] | None = None,
    tenant: str = TENANT,
) -> UUID:
    """Write a status that a notification reported, and derive; return the id of the notification."""
    changes = ChangeSet()
    notification_id = uuid7()
    common = {"observed_at": ago(minutes_ago), "source": "notification", "notification_id": notification_id}
    if evse is not None:
        changes.observe("evse_status_observation", {"evse_id": evse[0], "hardware_status": evse[1], **common})
    if network is not None:
        charge_point_id, status = network
        row = {"charge_point_id": charge_point_id, "network_status": status}
        changes.observe("charge_point_network_observation", row | common)
        columns = {"network_status": status}
        changes.facts.append(
            fact_from_read("charge_point", charge_point_id, "network", ago(minutes_ago), columns, began_at=ago(0))
        )
    with engine.begin() as connection:
        write_changes(connection, tenant, changes)
    derive(engine, tenant)
    return notification_id


def _read(kind: str, entity_id: int, **values: Any) -> Fact:
    columns = dict.fromkeys(MIRRORS[kind].group("master").columns) | {"raw": {}} | values
    read_at = ago(60 * 48)
    return fact_from_read(kind, entity_id, "master", read_at, columns, began_at=read_at)
