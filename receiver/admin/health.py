"""The endpoints ``/healthz`` and ``/readyz``."""

from __future__ import annotations

import asyncio

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from runtime.readiness import Check, Readiness, document_of, problem_of


class Health:
    """The health endpoints, for load balancers and operators.

    Parameters:
        readiness: the checks of the process.
    """

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._checking = asyncio.Lock()

    async def alive(self, _request: Request) -> Response:
        """Answer ``GET /healthz``: the process is alive."""
        return JSONResponse({"status": "alive"})

    async def ready(self, _request: Request) -> Response:
        """Answer ``GET /readyz`` on the public port: 200 or 503, without a body.

        Frequent requests of strangers do no harm: the servers are checked once a second, and only one thread waits.
        """
        checks = await self._checks()
        return Response(status_code=200 if problem_of(checks) is None else 503)

    async def ready_in_detail(self, _request: Request) -> Response:
        """Answer ``GET /readyz`` for operators: 200 or 503, with every check, its result and advice."""
        checks = await self._checks()
        return JSONResponse(document_of(checks), 200 if problem_of(checks) is None else 503)

    async def _checks(self) -> dict[str, Check]:
        async with self._checking:
            return await run_in_threadpool(self._readiness.checks)
