"""The routes of the API's read endpoints."""

from __future__ import annotations

from starlette.routing import Route

from simulator import api_charging, api_commerce, api_sites, api_statuses
from simulator.fleet import Fleet


def routes(fleet: Fleet) -> list[Route]:
    """Return the read endpoints over a fleet; a read changes nothing in the fleet."""
    return [
        *api_charging.routes(fleet.tenant),
        *api_commerce.routes(fleet.tenant),
        *api_sites.routes(fleet.tenant),
        *api_statuses.routes(fleet),
    ]
