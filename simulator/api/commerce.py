"""Read endpoints of commerce: reservations, tariffs, users, id tags, partners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.routing import Route

from simulator.api.listings import Listing, before, equals, since
from simulator.api.responses import ROOT, found, many, one
from simulator.fleet import resources
from simulator.fleet.model import Tenant


class _Shown(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def changed_at(self) -> datetime: ...


Row = TypeVar("Row", bound=_Shown)
Filters = Mapping[str, Callable[[str], Callable[[Any], bool]]]

#: The filters by time of change, which most listings have.
_CHANGED: Filters = {
    "lastUpdatedAfter": since(lambda row: row.changed_at),
    "lastUpdatedBefore": before(lambda row: row.changed_at),
}


def routes(tenant: Tenant) -> list[Route]:
    """Return the routes of reservations v1.0, tariffs v1.0, users v1.1 and v1.0, id tags v2.0 and partners v2.0."""
    return [
        *_routes(
            "reservations/v1.0",
            tenant.reservations,
            resources.reservation_resource,
            {
                "evseId": equals(lambda row: row.evse_id),
                "userId": equals(lambda row: row.user_id),
                "status": equals(lambda row: row.status),
                "reservedFrom": since(lambda row: row.reserved_at),
                "reservedTo": before(lambda row: row.reserved_at),
            },
            has_cursor=False,
        ),
        *_routes("tariffs/v1.0", tenant.tariffs, resources.tariff_resource, {}),
        *[
            route
            for version in ("v1.1", "v1.0")
            for route in _routes(
                f"users/{version}",
                tenant.users,
                resources.user_resource,
                {"email": equals(lambda row: row.email), **_CHANGED},
            )
        ],
        *_routes(
            "id-tags/v2.0",
            tenant.id_tags,
            resources.id_tag_resource,
            {
                "idTagUid": equals(lambda row: row.uid),
                "userId": equals(lambda row: row.user_id),
                **_CHANGED,
            },
        ),
        *_routes("partners/v2.0", tenant.partners, resources.partner_resource, _CHANGED, has_cursor=False),
    ]


def _routes(
    path: str,
    rows: dict[int, Row],
    render: Callable[[Row], dict[str, Any]],
    filters: Filters,
    *,
    has_cursor: bool = True,
) -> list[Route]:
    def read(request: Request) -> dict[str, Any]:
        return render(found(rows, request))

    def listing(_request: Request) -> Listing[Row]:
        return Listing(rows.values, lambda row: row.id, render, filters, pages_by_number=True, has_cursor=has_cursor)

    return [Route(f"{ROOT}/{path}", many(listing)), Route(f"{ROOT}/{path}/{{id:int}}", one(read))]
