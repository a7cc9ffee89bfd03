"""Read endpoints of charging: sessions, authorizations, transactions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.api.listings import Listing, before, equals, since
from simulator.api.responses import ROOT, flag, found, json_response, many, one
from simulator.fleet import resources
from simulator.fleet.charging import MAX_POINTS
from simulator.fleet.model import Authorization, Session, Tenant, Transaction


def routes(tenant: Tenant) -> list[Route]:
    """Return the routes of sessions v1.0, authorizations v2.1 and transactions v1.0."""
    return [*_session_routes(tenant), *_authorization_routes(tenant), *_transaction_routes(tenant)]


def _session_routes(tenant: Tenant) -> list[Route]:
    def render(request: Request) -> Callable[[Session], dict[str, Any]]:
        with_authorization = flag(request, "withAuthorization")
        with_charging_periods = flag(request, "withChargingPeriods")
        with_price_breakdown = flag(request, "withPriceBreakdown")
        with_periods_price_breakdown = flag(request, "withChargingPeriodsPriceBreakdown")
        return lambda session: resources.session_resource(
            session,
            tenant.authorizations[session.authorization_id],
            with_authorization=with_authorization,
            with_charging_periods=with_charging_periods,
            with_price_breakdown=with_price_breakdown,
            with_periods_price_breakdown=with_periods_price_breakdown,
        )

    def read(request: Request) -> dict[str, Any]:
        return render(request)(found(tenant.sessions, request))

    def stats(request: Request) -> list[dict[str, Any]]:
        session = found(tenant.sessions, request)
        return [resources.sample_resource(sample) for sample in session.samples[-MAX_POINTS:]]

    def listing(request: Request) -> Listing[Session]:
        return Listing(
            tenant.sessions.values,
            lambda row: row.id,
            render(request),
            {
                "status": equals(lambda row: row.status),
                "reason": equals(lambda row: row.reason),
                "evseId": equals(lambda row: row.evse_id),
                "evsePhysicalReference": equals(lambda row: row.evse_label),
                "chargePointId": equals(lambda row: row.charge_point_id),
                "chargePointNetworkId": equals(lambda row: tenant.charge_points[row.charge_point_id].serial_number),
                "userId": equals(lambda row: row.user_id),
                "idTag": equals(lambda row: row.id_tag),
                "billingStatus": equals(lambda row: row.billing_status),
                "paymentStatus": equals(lambda row: row.payment_status),
                "paymentStatusUpdatedAfter": since(lambda row: row.payment_changed_at),
                "paymentStatusUpdatedBefore": before(lambda row: row.payment_changed_at),
                "partnerId": equals(lambda row: tenant.charge_points[row.charge_point_id].partner_id),
                "receiptId": equals(lambda row: row.receipt_id),
                "startedAfter": since(lambda row: row.started_at),
                "startedBefore": before(lambda row: row.started_at),
                "endedAfter": since(lambda row: row.stopped_at),
                "endedBefore": before(lambda row: row.stopped_at),
                "lastUpdatedAfter": since(lambda row: row.changed_at),
                "lastUpdatedBefore": before(lambda row: row.changed_at),
            },
            pages_by_number=True,
        )

    path = f"{ROOT}/sessions/v1.0"
    return [
        Route(path, many(listing)),
        Route(f"{path}/{{id:int}}", one(read)),
        Route(f"{path}/{{id:int}}/consumption-stats", one(stats)),
    ]


def _authorization_routes(tenant: Tenant) -> list[Route]:
    def read(request: Request) -> dict[str, Any]:
        return resources.authorization_resource(found(tenant.authorizations, request))

    def listing(_request: Request) -> Listing[Authorization]:
        return Listing(
            tenant.authorizations.values,
            lambda row: row.id,
            resources.authorization_resource,
            {
                "status": equals(lambda row: "accepted" if row.is_accepted else "rejected"),
                "method": equals(lambda _row: resources.AUTHORIZATION_METHOD),
                "createdAfter": since(lambda row: row.created_at),
                "createdBefore": before(lambda row: row.created_at),
                "lastUpdatedAfter": since(lambda row: row.changed_at),
                "lastUpdatedBefore": before(lambda row: row.changed_at),
            },
            pages_by_number=True,
        )

    path = f"{ROOT}/authorizations/v2.1"
    return [Route(path, many(listing)), Route(f"{path}/{{id:int}}", one(read))]


def _transaction_routes(tenant: Tenant) -> list[Route]:
    async def read(request: Request) -> Response:
        # The only read that AMPECO documents without the `data` wrapper.
        return json_response(resources.transaction_resource(found(tenant.transactions, request)))

    def listing(_request: Request) -> Listing[Transaction]:
        return Listing(
            tenant.transactions.values,
            lambda row: row.id,
            resources.transaction_resource,
            {
                "sessionId": equals(lambda row: row.session_id),
                "userId": equals(lambda row: row.user_id),
                "status": equals(lambda row: row.status),
                "createdAfter": since(lambda row: row.created_at),
                "createdBefore": before(lambda row: row.created_at),
                "finalizedAfter": since(lambda row: row.finalized_at),
                "finalizedBefore": before(lambda row: row.finalized_at),
                "lastUpdatedAfter": since(lambda row: row.changed_at),
                "lastUpdatedBefore": before(lambda row: row.changed_at),
            },
            pages_by_number=True,
        )

    path = f"{ROOT}/transactions/v1.0"
    return [Route(path, many(listing)), Route(f"{path}/{{id:int}}", read)]
