"""A minimal server of the tenant's API, for the reads that applying requests.

It shows every entity in its state before the load began, at once and without limits, so that the
measurements include our own cost of the reads, but no wait for the tenant.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench.load import SAMPLES, charge_point_of

#: Environment variable with the time that every answer shows.
SHOWN_AT = "BENCH_SHOWN_AT"

_RESOURCES = "/public-api/resources"


def app() -> Starlette:
    """Return the app, with reads of sessions, charge points, EVSEs, locations and the latest log entries."""
    at = os.environ[SHOWN_AT]
    shapes = {
        name: orjson.loads((SAMPLES / "rest" / f"{name}.json").read_bytes())["data"]
        for name in ("session_read", "charge_point_read", "evse_read", "latest_hardware_status_log")
    }

    def answers(shape: str, **changes: Any) -> Any:
        async def answer(request: Request) -> Response:
            own = {"id": request.path_params["id"], "lastUpdatedAt": at}
            own |= {name: change(request.path_params["id"]) for name, change in changes.items()}
            return JSONResponse({"data": shapes[shape] | own})

        return answer

    async def hardware_status(_request: Request) -> Response:
        return JSONResponse({"data": shapes["latest_hardware_status_log"] | {"timestamp": at}})

    async def network_status(_request: Request) -> Response:
        return JSONResponse({"data": {"status": "available", "timestamp": at}})

    async def location(request: Request) -> Response:
        return JSONResponse({"data": {"id": request.path_params["id"], "status": "enabled", "lastUpdatedAt": at}})

    async def alive(_request: Request) -> Response:
        return Response()

    return Starlette(
        routes=[
            Route(f"{_RESOURCES}/sessions/v1.0/{{id:int}}", answers("session_read")),
            Route(f"{_RESOURCES}/charge-points/v2.0/{{id:int}}", answers("charge_point_read")),
            Route(
                f"{_RESOURCES}/evses/v2.1/{{id:int}}",
                answers(
                    "evse_read",
                    chargePointId=charge_point_of,
                    connectors=lambda evse_id: [{"id": evse_id, "type": "ccs2", "format": "cable"}],
                ),
            ),
            Route(f"{_RESOURCES}/locations/v2.0/{{id:int}}", location),
            Route(f"{_RESOURCES}/evses/v2.0/{{id:int}}/latest-hardware-status-log", hardware_status),
            Route(f"{_RESOURCES}/charge-points/v2.0/{{id:int}}/latest-hardware-status-log", hardware_status),
            Route(f"{_RESOURCES}/charge-points/v2.0/{{id:int}}/latest-network-status-log", network_status),
            Route("/healthz", alive),
        ]
    )


if __name__ == "__main__":
    uvicorn.run(
        "bench.tenant_api:app",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_config=None,
        access_log=False,
    )
