"""The pages of one location, one charge point and one EVSE."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from analytics.availability.opening_hours import parse_hours
from analytics.schema.evse_state import STATES
from receiver.console.console import Console
from receiver.console.evse_items import SPANS, grouped, items
from receiver.console.queries import Query, id_of_path
from receiver.console.ribbons import DAY, WEEK
from storage.reports.evse_states import intervals_before
from storage.reports.fleet_list import EvseFilter, list_evses, some_evses
from storage.reports.places import (
    boots,
    charge_point_details,
    downtimes,
    evse_details,
    exclusions,
    location_details,
    network_changes,
    outages,
    recent_sessions,
)

#: EVSEs that the page of a place shows; a place with more links to their list.
MAX_EVSES = 60

#: Rows of each table.
MAX_ROWS = 20

#: States of an EVSE on a page.
MAX_STATES = 40

_Details = TypeVar("_Details")


async def show_location(request: Request) -> Response:
    """Show a location."""

    def query(connection: Connection, tenant: str, location_id: int) -> dict[str, Any]:
        details = _known(location_details(connection, tenant, location_id), "location")
        evses = list_evses(connection, tenant, EvseFilter(location_id=location_id), after=None, limit=MAX_EVSES + 1)
        shown = evses[:MAX_EVSES]
        places = grouped(items(connection, tenant, shown))
        return {
            "details": details,
            # Hours that cannot be read count as always open, whatever of them could be shown.
            "has_readable_hours": parse_hours(orjson.dumps(details.working_hours).decode()) is not None,
            "charge_points": [group for place in places for group in place.charge_points],
            "has_more": len(evses) > MAX_EVSES,
            "outages": outages(connection, tenant, [evse.evse_id for evse in shown], limit=MAX_ROWS),
            "sessions": recent_sessions(connection, tenant, "location_id", location_id, limit=MAX_ROWS),
        }

    return await _show(request, "location.html", query)


async def show_charge_point(request: Request) -> Response:
    """Show a charge point."""

    def query(connection: Connection, tenant: str, charge_point_id: int) -> dict[str, Any]:
        details = _known(charge_point_details(connection, tenant, charge_point_id), "charge point")
        evses = list_evses(
            connection, tenant, EvseFilter(charge_point_id=charge_point_id), after=None, limit=MAX_EVSES + 1
        )
        shown = evses[:MAX_EVSES]
        ids = [evse.evse_id for evse in shown]
        return {
            "details": details,
            "items": items(connection, tenant, shown, (DAY, WEEK)),
            "has_more": len(evses) > MAX_EVSES,
            "network": network_changes(connection, tenant, charge_point_id, limit=MAX_ROWS),
            "boots": boots(connection, tenant, charge_point_id, limit=MAX_ROWS),
            "downtimes": downtimes(connection, tenant, charge_point_id, limit=MAX_ROWS),
            "outages": outages(connection, tenant, ids, limit=MAX_ROWS),
            "exclusions": exclusions(connection, tenant, ids, limit=MAX_ROWS),
            "sessions": recent_sessions(connection, tenant, "charge_point_id", charge_point_id, limit=MAX_ROWS),
        }

    return await _show(request, "charge_point.html", query)


async def show_evse(request: Request) -> Response:
    """Show an EVSE, with its states before a time in the address."""
    before = Query(request.query_params).moment("before")

    def query(connection: Connection, tenant: str, evse_id: int) -> dict[str, Any]:
        details = _known(evse_details(connection, tenant, evse_id), "EVSE")
        (item,) = items(connection, tenant, some_evses(connection, tenant, [evse_id]), (DAY, WEEK))
        states = intervals_before(connection, tenant, evse_id, before or datetime.max.replace(tzinfo=UTC), MAX_STATES)
        return {
            "details": details,
            "item": item,
            "states": states,
            "before": before,
            "next_before": states[-1].began_at.astimezone(UTC).isoformat() if len(states) == MAX_STATES else None,
            "outages": outages(connection, tenant, [evse_id], limit=MAX_ROWS),
            "exclusions": exclusions(connection, tenant, [evse_id], limit=MAX_ROWS),
            "sessions": recent_sessions(connection, tenant, "evse_id", evse_id, limit=MAX_ROWS),
        }

    return await _show(request, "evse.html", query)


async def _show(request: Request, template: str, query: Callable[[Connection, str, int], dict[str, Any]]) -> Response:
    console = Console.of(request)
    tenant, place_id = console.tenant_of(request), id_of_path(request)
    values = await console.read(lambda connection: query(connection, tenant, place_id))
    return console.page(request, template, tenant=tenant, spans=SPANS, legend=STATES, **values)


def _known(details: _Details | None, what: str) -> _Details:
    if details is None:
        raise HTTPException(
            404, f"No {what} with this id is known. If it is new, the next sync with the API brings it."
        )
    return details


routes = [
    Route("/tenants/{tenant}/locations/{id}", show_location),
    Route("/tenants/{tenant}/charge-points/{id}", show_charge_point),
    Route("/tenants/{tenant}/evses/{id}", show_evse),
]
