"""EVSEs as the pages of the fleet show them: with place, state, and ribbons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from receiver.console.ribbons import DAY, WEEK, Ribbon, ribbon
from storage.reports.evse_states import fleet_time, stretches
from storage.reports.fleet_list import ListedEvse

#: The lengths of ribbons, and what pages call them.
SPANS = ((DAY, "last 24 hours"), (WEEK, "last 7 days"))


@dataclass(frozen=True, slots=True)
class EvseItem:
    """An EVSE with the ribbons of its states, by how long they are."""

    evse: ListedEvse
    ribbons: Mapping[timedelta, Ribbon]

    @property
    def name(self) -> str:
        """What to call it."""
        return self.evse.label or f"EVSE {self.evse.evse_id}"


@dataclass(frozen=True, slots=True)
class ChargePointGroup:
    """The EVSEs of one charge point."""

    charge_point_id: int | None
    name: str | None
    ocpp_id: str | None
    network_status: str | None
    items: list[EvseItem]


@dataclass(frozen=True, slots=True)
class LocationGroup:
    """The charge points of one location."""

    location_id: int | None
    name: str | None
    city: str | None
    charge_points: list[ChargePointGroup]


def items(
    connection: Connection, tenant: str, evses: Sequence[ListedEvse], spans: Sequence[timedelta] = (DAY,)
) -> list[EvseItem]:
    """Return EVSEs with their ribbons over these spans."""
    until = fleet_time(connection, tenant)
    ids = [evse.evse_id for evse in evses]
    known = stretches(connection, tenant, ids, until - max(spans))

    def ribbons(evse_id: int, moment: datetime) -> dict[timedelta, Ribbon]:
        return {span: ribbon(known.get(evse_id, ()), moment, span) for span in spans}

    return [EvseItem(evse, ribbons(evse.evse_id, until)) for evse in evses]


def grouped(shown: Sequence[EvseItem]) -> list[LocationGroup]:
    """Return EVSEs, which are in the order of places, by location and charge point."""
    locations: list[LocationGroup] = []
    for item in shown:
        evse = item.evse
        if not locations or locations[-1].location_id != evse.location_id:
            locations.append(LocationGroup(evse.location_id, evse.location_name, evse.city, []))
        charge_points = locations[-1].charge_points
        if not charge_points or charge_points[-1].charge_point_id != evse.charge_point_id:
            charge_points.append(
                ChargePointGroup(evse.charge_point_id, evse.charge_point_name, evse.ocpp_id, evse.network_status, [])
            )
        charge_points[-1].items.append(item)
    return locations
