"""Whether this process is alive, and whether it can do its work."""

from __future__ import annotations

import asyncio

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from workers.readiness import Check, Readiness, document_of, problem_of


class Health:
    """The pages that a load balancer, an operator and Prometheus look at.

    Parameters:
        readiness: what the process needs.
    """

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._asking = asyncio.Lock()

    async def alive(self, _request: Request) -> Response:
        """``GET /healthz``: the process answers."""
        return JSONResponse({"status": "alive"})

    async def ready(self, _request: Request) -> Response:
        """``GET /readyz`` for everybody: 200 or 503, and nothing beside it.

        Strangers may ask as often as they like: the servers are asked once a second, and one thread waits.
        """
        checks = await self._checks()
        return Response(status_code=200 if problem_of(checks) is None else 503)

    async def ready_in_detail(self, _request: Request) -> Response:
        """``GET /readyz`` for operators: the same, with every check, its cause and what to do."""
        checks = await self._checks()
        return JSONResponse(document_of(checks), 200 if problem_of(checks) is None else 503)

    async def _checks(self) -> dict[str, Check]:
        async with self._asking:
            return await run_in_threadpool(self._readiness.checks)
