"""Read endpoints of hardware and sites: charge points, EVSEs, locations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from simulator.api.listings import Listing, before, equals, since
from simulator.api.problems import Problem
from simulator.api.responses import ROOT, found, includes, many, one
from simulator.fleet import site_resources
from simulator.fleet.makes import model_id, vendor_id
from simulator.fleet.model import ChargePoint, Evse, Location, Tenant
from simulator.fleet.resources import COUNTRY


def routes(tenant: Tenant) -> list[Route]:
    """Return the routes of charge points v2.0, EVSEs v2.1 and locations v2.0."""
    return [*_charge_point_routes(tenant), *_evse_routes(tenant), *_location_routes(tenant)]


def _roaming_value(row: ChargePoint | Evse) -> str:
    return "false" if row.roaming_operator_id is None else "true"


#: The filter that separates the tenant's own hardware from that of its roaming partners.
_ROAMING = equals(_roaming_value)


def _render_charge_point(request: Request) -> Callable[[ChargePoint], dict[str, Any]]:
    with_boot = includes(request, "lastBootNotification")
    return lambda charge_point: site_resources.charge_point_resource(charge_point, with_boot=with_boot)


def _render_evse(request: Request, *, nested: bool = False) -> Callable[[Evse], dict[str, Any]]:
    with_connectors = includes(request, "connectors")
    return lambda evse: site_resources.evse_resource(evse, with_connectors=with_connectors, nested=nested)


def _charge_point_routes(tenant: Tenant) -> list[Route]:
    def read(request: Request) -> dict[str, Any]:
        return _render_charge_point(request)(found(tenant.charge_points | tenant.foreign_charge_points, request))

    def listing(request: Request) -> Listing[ChargePoint]:
        return Listing(
            lambda: [*tenant.live_charge_points(), *tenant.foreign_charge_points.values()],
            lambda row: row.id,
            _render_charge_point(request),
            {
                "name": equals(lambda row: row.name),
                "locationId": equals(lambda row: row.location_id),
                "chargingZoneId": equals(lambda row: row.charging_zone_id),
                "modelId": equals(lambda row: model_id(row.model)),
                "vendorId": equals(lambda row: vendor_id(row.model)),
                "partnerId": equals(lambda row: row.partner_id),
                "roaming": _ROAMING,
                "networkId": equals(lambda row: row.serial_number),
                "bootNotificationSerialNumber": equals(lambda row: row.serial_number),
                "lastUpdatedAfter": since(lambda row: row.changed_at),
                "lastUpdatedBefore": before(lambda row: row.changed_at),
            },
        )

    def evses(request: Request) -> Listing[Evse]:
        charge_point = found(tenant.charge_points, request)
        return Listing(
            lambda: tenant.evses_of(charge_point.id),
            lambda row: row.id,
            _render_evse(request, nested=True),
            {},
        )

    def evse(request: Request) -> dict[str, Any]:
        shown = found(tenant.evses, request, "evse_id")
        if shown.charge_point_id != found(tenant.charge_points, request).id:
            raise Problem(404)
        return _render_evse(request, nested=True)(shown)

    path = f"{ROOT}/charge-points/v2.0"
    return [
        Route(path, many(listing)),
        Route(f"{path}/{{id:int}}", one(read)),
        Route(f"{path}/{{id:int}}/evses", many(evses)),
        Route(f"{path}/{{id:int}}/evses/{{evse_id:int}}", one(evse)),
    ]


def _evse_routes(tenant: Tenant) -> list[Route]:
    def read(request: Request) -> dict[str, Any]:
        return _render_evse(request)(found(tenant.evses | tenant.foreign_evses, request))

    def listing(request: Request) -> Listing[Evse]:
        return Listing(
            lambda: [*tenant.live_evses(), *tenant.foreign_evses.values()],
            lambda row: row.id,
            _render_evse(request),
            {
                "chargePointId": equals(lambda row: row.charge_point_id),
                "physicalReference": equals(lambda row: row.label),
                "roaming": _ROAMING,
                "lastUpdatedAfter": since(lambda row: row.changed_at),
                "lastUpdatedBefore": before(lambda row: row.changed_at),
            },
        )

    path = f"{ROOT}/evses/v2.1"
    return [Route(path, many(listing)), Route(f"{path}/{{id:int}}", one(read))]


def _location_routes(tenant: Tenant) -> list[Route]:
    def render(request: Request) -> Callable[[Location], dict[str, Any]]:
        with_zones = includes(request, "chargingZones")
        return lambda location: site_resources.location_resource(location, with_zones=with_zones)

    def read(request: Request) -> dict[str, Any]:
        return render(request)(found(tenant.locations, request))

    def listing(request: Request) -> Listing[Location]:
        return Listing(
            tenant.locations.values,
            lambda row: row.id,
            render(request),
            {
                "city": equals(lambda row: row.city),
                "country": equals(lambda _row: COUNTRY),
                "lastUpdatedAfter": since(lambda row: row.changed_at),
                "lastUpdatedBefore": before(lambda row: row.changed_at),
            },
        )

    path = f"{ROOT}/locations/v2.0"
    return [Route(path, many(listing)), Route(f"{path}/{{id:int}}", one(read))]
