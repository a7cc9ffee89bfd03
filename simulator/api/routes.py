"""The routes of the API's read endpoints."""

from __future__ import annotations

from starlette.routing import Route

from simulator.api import charging as api_charging
from simulator.api import commerce as api_commerce
from simulator.api import records as api_records
from simulator.api import roaming as api_roaming
from simulator.api import sites as api_sites
from simulator.api import statuses as api_statuses
from simulator.fleet.fleet import Fleet


def routes(fleet: Fleet) -> list[Route]:
    """Return the read endpoints over a fleet; a read changes nothing in the fleet."""
    return [
        *api_charging.routes(fleet.tenant),
        *api_commerce.routes(fleet.tenant),
        *api_records.routes(fleet.tenant),
        *api_roaming.routes(fleet.cdrs),
        *api_sites.routes(fleet.tenant),
        *api_statuses.routes(fleet),
    ]
