"""Read endpoints of statuses: the live status, the status logs, and the latest entry of each log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from simulator.api.listings import Listing, before, since
from simulator.api.responses import ROOT, found, many, one
from simulator.fleet import site_resources
from simulator.fleet.fleet import Fleet
from simulator.fleet.model import StatusChange

_Log = Callable[[Request], list[StatusChange]]


def routes(fleet: Fleet) -> list[Route]:
    """Return the routes of the status logs v2.0 of charge points and EVSEs, and of the live status v1.0."""
    tenant = fleet.tenant

    def live(request: Request) -> dict[str, Any]:
        charge_point = found(tenant.charge_points, request)
        return site_resources.live_status_resource(charge_point, tenant.evses_of(charge_point.id), fleet.now)

    def network(request: Request) -> list[StatusChange]:
        return found(tenant.charge_points, request).network

    def hardware(request: Request) -> list[StatusChange]:
        return found(tenant.charge_points, request).hardware

    def evse_hardware(request: Request) -> list[StatusChange]:
        return found(tenant.evses, request).hardware

    def hardware_entry(change: StatusChange) -> dict[str, Any]:
        known = {record.fields["errorCode"]: record for record in tenant.live_records("vendor-error-codes")}
        return site_resources.hardware_log_resource(change, known)

    charge_point = f"{ROOT}/charge-points/v2.0/{{id:int}}"
    evse = f"{ROOT}/evses/v2.0/{{id:int}}"
    return [
        Route(f"{ROOT}/charge-points/v1.0/{{id:int}}/status", one(live)),
        *_log_routes(charge_point, "network-status-log", network, site_resources.network_log_resource),
        *_log_routes(charge_point, "hardware-status-log", hardware, hardware_entry),
        *_log_routes(evse, "hardware-status-log", evse_hardware, hardware_entry),
    ]


def _log_routes(owner: str, kind: str, log: _Log, render: Callable[[StatusChange], dict[str, Any]]) -> list[Route]:
    """Return the routes of a log's listing and of its latest entry; a cursor is an entry's index in the log."""

    def listing(request: Request) -> Listing[tuple[int, StatusChange]]:
        changes = log(request)
        return Listing(
            lambda: list(enumerate(changes)),
            lambda row: row[0],
            lambda row: render(row[1]),
            {"createdAfter": since(lambda row: row[1].at), "createdBefore": before(lambda row: row[1].at)},
        )

    def latest(request: Request) -> dict[str, Any]:
        return render(log(request)[-1])

    return [Route(f"{owner}/{kind}s", many(listing)), Route(f"{owner}/latest-{kind}", one(latest))]
