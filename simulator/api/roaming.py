"""Read endpoints of roaming: CDRs."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from simulator.api.listings import Listing, before, equals, since
from simulator.api.responses import ROOT, found, many, one
from simulator.fleet.roaming import Cdr, cdr_resource


def routes(cdrs: dict[int, Cdr]) -> list[Route]:
    """Return the routes of CDRs v2.0. All of them were received, so that no filter shows one that was sent."""

    def read(request: Request) -> dict[str, Any]:
        return cdr_resource(found(cdrs, request))

    def listing(_request: Request) -> Listing[Cdr]:
        return Listing(
            cdrs.values,
            lambda row: row.id,
            cdr_resource,
            {
                "roamingId": equals(lambda row: row.roaming_id),
                "receivedAfter": since(lambda row: row.received_at),
                "receivedBefore": before(lambda row: row.received_at),
                "sentAfter": since(lambda _row: None),
                "sentBefore": before(lambda _row: None),
            },
        )

    return [Route(f"{ROOT}/cdrs/v2.0", many(listing)), Route(f"{ROOT}/cdrs/v2.0/{{id:int}}", one(read))]
