"""The API's reads: which path shows what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulator import resources
from simulator.fleet import Fleet
from simulator.listings import Listing, before, equals, since
from simulator.model import Authorization, ChargePoint, Evse, Location, Session, StatusChange, Transaction
from simulator.problems import Problem

Endpoint = Callable[[Request], Any]

Shown = TypeVar("Shown")

ROOT = "/public-api/resources"


def routes(fleet: Fleet) -> list[Route]:
    """The read endpoints over a fleet; every change that a read shows is the fleet's own."""
    tenant = fleet.tenant

    def live_evses() -> Iterable[Evse]:
        return (evse for evse in tenant.evses.values() if not evse.is_deleted)

    def evse(request: Request) -> Evse:
        found = _found(tenant.evses, request)
        if found.is_deleted:
            raise Problem(404)
        return found

    def charge_point(request: Request) -> ChargePoint:
        return _found(tenant.charge_points, request)

    def session(request: Request) -> Session:
        return _found(tenant.sessions, request)

    def session_json(request: Request) -> Callable[[Session], dict[str, Any]]:
        def render(shown: Session) -> dict[str, Any]:
            return resources.session_resource(
                shown,
                tenant.authorizations[shown.authorization_id],
                with_authorization=_flag(request, "withAuthorization"),
                with_charging_periods=_flag(request, "withChargingPeriods"),
            )

        return render

    def charge_point_json(request: Request) -> Callable[[ChargePoint], dict[str, Any]]:
        with_boot = "lastBootNotification" in request.query_params.getlist("include[]")
        return lambda shown: resources.charge_point_resource(shown, with_boot=with_boot)

    def sessions(request: Request) -> Listing[Session]:
        return Listing(
            tenant.sessions.values,
            lambda row: row.id,
            session_json(request),
            {
                "status": equals(lambda row: row.status),
                "evseId": equals(lambda row: row.evse_id),
                "chargePointId": equals(lambda row: row.charge_point_id),
                "userId": equals(lambda row: row.user_id),
                "startedAfter": since(lambda row: row.started_at),
                "startedBefore": before(lambda row: row.started_at),
                "lastUpdatedAfter": since(lambda row: row.changed_at),
                "lastUpdatedBefore": before(lambda row: row.changed_at),
            },
            pages_by_number=True,
        )

    def charge_points(request: Request) -> Listing[ChargePoint]:
        return Listing(
            tenant.charge_points.values,
            lambda row: row.id,
            charge_point_json(request),
            {
                "name": equals(lambda row: row.name),
                "locationId": equals(lambda row: row.location_id),
                "networkId": equals(lambda row: row.serial_number),
                "lastUpdatedAfter": since(lambda row: row.changed_at),
                "lastUpdatedBefore": before(lambda row: row.changed_at),
            },
        )

    def evses(_request: Request) -> Listing[Evse]:
        return Listing(
            live_evses,
            lambda row: row.id,
            resources.evse_resource,
            {
                "chargePointId": equals(lambda row: row.charge_point_id),
                "physicalReference": equals(lambda row: row.label),
                "lastUpdatedAfter": since(lambda row: row.changed_at),
                "lastUpdatedBefore": before(lambda row: row.changed_at),
            },
        )

    def nested_evses(request: Request) -> Listing[Evse]:
        stand = charge_point(request)
        return Listing(
            lambda: tenant.evses_of(stand.id),
            lambda row: row.id,
            lambda row: resources.evse_resource(row, nested=True),
            {},
        )

    def locations(_request: Request) -> Listing[Location]:
        return Listing(
            tenant.locations.values,
            lambda row: row.id,
            resources.location_resource,
            {
                "city": equals(lambda row: row.city),
                "lastUpdatedAfter": since(lambda row: row.changed_at),
                "lastUpdatedBefore": before(lambda row: row.changed_at),
            },
        )

    def authorizations(_request: Request) -> Listing[Authorization]:
        return Listing(
            tenant.authorizations.values,
            lambda row: row.id,
            resources.authorization_resource,
            {
                "createdAfter": since(lambda row: row.created_at),
                "createdBefore": before(lambda row: row.created_at),
                "lastUpdatedAfter": since(lambda row: row.changed_at),
                "lastUpdatedBefore": before(lambda row: row.changed_at),
            },
            pages_by_number=True,
        )

    def transactions(_request: Request) -> Listing[Transaction]:
        return Listing(
            tenant.transactions.values,
            lambda row: row.id,
            resources.transaction_resource,
            {
                "sessionId": equals(lambda row: row.session_id),
                "status": equals(lambda row: row.status),
                "createdAfter": since(lambda row: row.created_at),
                "createdBefore": before(lambda row: row.created_at),
                "lastUpdatedAfter": since(lambda row: row.changed_at),
                "lastUpdatedBefore": before(lambda row: row.changed_at),
            },
            pages_by_number=True,
        )

    def log(
        changes: Callable[[Request], list[StatusChange]], render: Callable[[StatusChange], dict[str, Any]]
    ) -> Callable[[Request], Listing[tuple[int, StatusChange]]]:
        return lambda request: Listing(
            lambda: list(enumerate(changes(request))),
            lambda row: row[0],
            lambda row: render(row[1]),
            {
                "createdAfter": since(lambda row: row[1].at),
                "createdBefore": before(lambda row: row[1].at),
            },
        )

    def latest(
        changes: Callable[[Request], list[StatusChange]], render: Callable[[StatusChange], dict[str, Any]]
    ) -> Endpoint:
        return _one(lambda request: render(changes(request)[-1]))

    def network_of(request: Request) -> list[StatusChange]:
        return charge_point(request).network

    def hardware_of(request: Request) -> list[StatusChange]:
        return charge_point(request).hardware

    def evse_hardware_of(request: Request) -> list[StatusChange]:
        return evse(request).hardware

    def transaction(request: Request) -> Response:
        # The one read that AMPECO describes without the `data` wrapper.
        return JSONResponse(resources.transaction_resource(_found(tenant.transactions, request)))

    def live_status(request: Request) -> dict[str, Any]:
        shown = charge_point(request)
        return resources.live_status_resource(shown, tenant.evses_of(shown.id), fleet.now)

    hardware_json, network_json = resources.hardware_log_resource, resources.network_log_resource
    charge_point_path = f"{ROOT}/charge-points/v2.0/{{id:int}}"
    evse_log_path = f"{ROOT}/evses/v2.0/{{id:int}}"
    return [
        Route(f"{ROOT}/sessions/v1.0", _many(sessions)),
        Route(f"{ROOT}/sessions/v1.0/{{id:int}}", _one(lambda request: session_json(request)(session(request)))),
        Route(
            f"{ROOT}/sessions/v1.0/{{id:int}}/consumption-stats",
            _one(lambda request: [resources.sample_resource(sample) for sample in session(request).samples[-300:]]),
        ),
        Route(f"{ROOT}/charge-points/v2.0", _many(charge_points)),
        Route(charge_point_path, _one(lambda request: charge_point_json(request)(charge_point(request)))),
        Route(f"{charge_point_path}/evses", _many(nested_evses)),
        Route(f"{charge_point_path}/network-status-logs", _many(log(network_of, network_json))),
        Route(f"{charge_point_path}/latest-network-status-log", latest(network_of, network_json)),
        Route(f"{charge_point_path}/hardware-status-logs", _many(log(hardware_of, hardware_json))),
        Route(f"{charge_point_path}/latest-hardware-status-log", latest(hardware_of, hardware_json)),
        Route(f"{ROOT}/charge-points/v1.0/{{id:int}}/status", _one(live_status)),
        Route(f"{ROOT}/evses/v2.1", _many(evses)),
        Route(f"{ROOT}/evses/v2.1/{{id:int}}", _one(lambda request: resources.evse_resource(evse(request)))),
        Route(f"{evse_log_path}/hardware-status-logs", _many(log(evse_hardware_of, hardware_json))),
        Route(f"{evse_log_path}/latest-hardware-status-log", latest(evse_hardware_of, hardware_json)),
        Route(f"{ROOT}/locations/v2.0", _many(locations)),
        Route(
            f"{ROOT}/locations/v2.0/{{id:int}}",
            _one(lambda request: resources.location_resource(_found(tenant.locations, request))),
        ),
        Route(f"{ROOT}/authorizations/v2.1", _many(authorizations)),
        Route(
            f"{ROOT}/authorizations/v2.1/{{id:int}}",
            _one(lambda request: resources.authorization_resource(_found(tenant.authorizations, request))),
        ),
        Route(f"{ROOT}/transactions/v1.0", _many(transactions)),
        Route(f"{ROOT}/transactions/v1.0/{{id:int}}", transaction),
    ]


def _found(entities: dict[int, Shown], request: Request) -> Shown:
    entity = entities.get(request.path_params["id"])
    if entity is None:
        raise Problem(404)
    return entity


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "false") in ("true", "1")


def _one(show: Callable[[Request], Any]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return JSONResponse({"data": show(request)})

    return endpoint


def _many(listing: Callable[[Request], Listing[Any]]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        url = str(request.url.replace(query=""))
        return JSONResponse(listing(request).answer(url, request.query_params.multi_items()))

    return endpoint
