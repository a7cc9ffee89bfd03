"""The pages *Fleet* and *Map*: every EVSE by place, with its state now and over the last day."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from analytics.schema.evse_state import STATES
from receiver.console.console import Console
from receiver.console.evse_items import SPANS, grouped, items
from receiver.console.queries import Query
from storage.reports.evse_states import changed_evses, last_change_number, state_counts
from storage.reports.fleet_list import (
    EvseFilter,
    ListedLocation,
    fleet_size,
    list_evses,
    list_locations,
    some_evses,
)

#: EVSEs on a page: each has a ribbon of up to a few dozen parts.
PAGE_SIZE = 60

#: Locations on the map; a tenant with more sees the first ones by name, and is shown that.
MAX_LOCATIONS = 2_000

#: EVSEs in one message of the stream; the rest follows in the next one.
MAX_CHANGES = 100

#: The number of changes before the present one that the first message begins with: those that a page may have missed
#: while it loaded.
RECENT_CHANGES = 1_000

#: How pressing a state is, from what matters most; the map shows a location by the most pressing one.
GRAVITY = ("faulted", "unavailable", "offline", "unknown")


async def show(request: Request) -> Response:
    """Show the EVSEs."""
    console = Console.of(request)
    tenant = console.tenant_of(request)
    chosen, problems = read_filter(request)
    after = Query(request.query_params).identifier("after")

    def query(connection: Connection) -> dict[str, Any]:
        evses = list_evses(connection, tenant, chosen, after=after, limit=PAGE_SIZE + 1)
        return {
            **counts(connection, tenant),
            "locations": grouped(items(connection, tenant, evses[:PAGE_SIZE])),
            "next_after": evses[PAGE_SIZE - 1].evse_id if len(evses) > PAGE_SIZE else None,
        }

    values = await console.read(query)
    return console.page(
        request,
        "fleet.html",
        tenant=tenant,
        chosen=chosen,
        problems=problems,
        after=after,
        address=_addresses(tenant, chosen),
        spans=SPANS,
        **values,
    )


def _addresses(tenant: str, chosen: EvseFilter) -> Callable[..., str]:
    """Return what makes the address of the page with other filters; paging begins again."""
    filters = {
        "state": chosen.state,
        "network": chosen.network_status,
        "location": chosen.location_id,
        "charge_point": chosen.charge_point_id,
        "q": chosen.text,
    }

    def address(**changes: object) -> str:
        given = {name: value for name, value in (filters | changes).items() if value is not None}
        return f"/fleet?{urlencode({'tenant': tenant} | given)}"

    return address


def read_filter(request: Request) -> tuple[EvseFilter, list[str]]:
    """Return the filter in the address of a page, and what in it cannot be meant."""
    query = Query(request.query_params)
    chosen = EvseFilter(
        state=query.choice("state", STATES),
        location_id=query.identifier("location"),
        charge_point_id=query.identifier("charge_point"),
        # The empty text is a status: none was reported.
        network_status=(query.text("network") or "") if "network" in request.query_params else None,
        text=query.text("q"),
    )
    return chosen, query.problems


def counts(connection: Connection, tenant: str) -> dict[str, Any]:
    """Return how many EVSEs are in each state, and how many places there are."""
    known = state_counts(connection, tenant)
    return {"counts": {state: known.get(state, 0) for state in STATES}, "size": fleet_size(connection, tenant)}


class FleetChanges:
    """The source of a tenant's live topic: the EVSEs whose state changed since it was last asked."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._last: int | None = None

    def __call__(self, connection: Connection) -> Mapping[str, Any] | None:
        """Return the EVSEs and the counts; None if no state changed."""
        if self._last is None:
            self._last = max(last_change_number(connection, self._tenant) - RECENT_CHANGES, 0)
        changed, last = changed_evses(connection, self._tenant, self._last, MAX_CHANGES)
        shown: dict[str, Any] | None = None
        if changed:
            evses = some_evses(connection, self._tenant, changed)
            shown = {
                "tenant": self._tenant,
                "spans": SPANS,
                "items": items(connection, self._tenant, evses),
            }
            shown |= counts(connection, self._tenant)
        self._last = last  # only now: after a failure they are asked for again
        return shown


async def show_map(request: Request) -> Response:
    """Show the locations on a map, and as a list."""
    console = Console.of(request)
    tenant = console.tenant_of(request)
    locations = await console.read(lambda connection: list_locations(connection, tenant, limit=MAX_LOCATIONS))
    return console.page(
        request,
        "map.html",
        tenant=tenant,
        locations=locations,
        is_cut=len(locations) == MAX_LOCATIONS,
        data=json.dumps([_marker(tenant, each) for each in locations if _is_on_map(each)]),
        gravest=gravest,
    )


def gravest(location: ListedLocation) -> str:
    """Return the state by which the map shows a location: what is wrong there, else whether it is in use."""
    for state in GRAVITY:
        if location.states.get(state):
            return state
    if any(count for state, count in location.states.items() if state != "available"):
        return "in_use"
    return "available" if location.states else "unknown"


def _is_on_map(location: ListedLocation) -> bool:
    return location.latitude is not None and location.longitude is not None and abs(location.latitude) <= 84


def _marker(tenant: str, location: ListedLocation) -> dict[str, Any]:
    return {
        "name": (location.name or f"Location {location.location_id}")[:100],
        "href": f"/tenants/{tenant}/locations/{location.location_id}",
        "at": [location.longitude, location.latitude],
        "state": gravest(location),
        "states": location.states,
    }


routes = [Route("/fleet", show), Route("/fleet/map", show_map)]
