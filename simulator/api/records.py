"""Read endpoints of plain records: one listing and, mostly, one read for each entry of the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.api.listings import Listing
from simulator.api.record_listings import LISTINGS, RecordListing
from simulator.api.responses import ROOT, flag, found, includes, json_response, many, one
from simulator.fleet.model import Record, Tenant
from simulator.fleet.resources import instant

#: The read that has no listing: sessions refer to its records.
_TARIFF_SNAPSHOTS = RecordListing("tariff-snapshots/v1.0")


def routes(tenant: Tenant) -> list[Route]:
    """Return the routes of every listing of the table, and of tariff snapshots v1.0."""
    snapshot = Route(f"{ROOT}/{_TARIFF_SNAPSHOTS.path}/{{id:int}}", _read(tenant, _TARIFF_SNAPSHOTS))
    return [snapshot, *(route for listing in LISTINGS for route in _routes(tenant, listing))]


def _routes(tenant: Tenant, table: RecordListing) -> list[Route]:
    def listing(request: Request) -> Listing[Record]:
        return Listing(
            tenant.records[table.resource].values,
            lambda row: row.id,
            _render(table, request, table.parts),
            table.filters,
            pages_by_number=table.paging != "cursor",
            has_cursor=table.paging != "page",
        )

    path = f"{ROOT}/{table.path}"
    shown = [Route(path, many(listing))]
    if table.has_read:
        shown.append(Route(f"{path}/{{id:int}}", _read(tenant, table)))
    return shown


def _read(tenant: Tenant, table: RecordListing) -> Callable[[Request], Any]:
    def shown(request: Request) -> dict[str, Any]:
        record = found(tenant.records[table.resource], request)
        return _render(table, request, table.parts | table.parts_of_read)(record)

    async def unwrapped(request: Request) -> Response:
        return json_response(shown(request))

    return one(shown) if table.is_wrapped else unwrapped


def _render(table: RecordListing, request: Request, parts: frozenset[str]) -> Callable[[Record], dict[str, Any]]:
    """Return a function from a record to JSON; parts that the request does not name are left out."""
    named = {part for part in parts if includes(request, part) or flag(request, f"with{part[0].upper()}{part[1:]}")}
    hidden = (table.parts | table.parts_of_read) - named

    def render(record: Record) -> dict[str, Any]:
        shown = {"id": record.id, **record.fields}
        if table.changed is not None:
            shown[table.changed] = instant(record.changed_at)
        return {name: value for name, value in shown.items() if name not in hidden}

    return render
