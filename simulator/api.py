"""The API's reads: which path shows what."""

from __future__ import annotations

from starlette.routing import Route

from simulator import api_charging, api_commerce, api_sites, api_statuses
from simulator.fleet import Fleet


def routes(fleet: Fleet) -> list[Route]:
    """The read endpoints over a fleet; every change that a read shows is the fleet's own."""
    return [
        *api_charging.routes(fleet.tenant),
        *api_commerce.routes(fleet.tenant),
        *api_sites.routes(fleet.tenant),
        *api_statuses.routes(fleet),
    ]
