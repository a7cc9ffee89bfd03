"""``/control``: what a person or a test does to the tenant while it runs."""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from dataclasses import asdict
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulator.delivery import Delivery, state
from simulator.fleet import Fleet, Notification
from simulator.guard import Guard
from simulator.problems import Problem
from simulator.runner import Runner
from simulator.settings import Faults
from simulator.subscriptions import Subscriptions, parsed


class _Rotation(BaseModel):
    """``resign``: whether existing subscriptions sign with the new token."""

    model_config = ConfigDict(extra="forbid")

    token: str | None = None
    resign: bool = True


class _Emission(BaseModel):
    model_config = ConfigDict(extra="forbid")

    notification: str
    body: dict[str, Any] | None = None


class Control:
    """Faults, token, clock and ledger of a running tenant."""

    def __init__(
        self,
        fleet: Fleet,
        runner: Runner,
        delivery: Delivery,
        subscriptions: Subscriptions,
        guard: Guard,
        control_token: str | None,
    ) -> None:
        self._fleet = fleet
        self._runner = runner
        self._delivery = delivery
        self._subscriptions = subscriptions
        self._guard = guard
        self._token = control_token

    def routes(self) -> list[Route]:
        return [
            Route("/control/state", self._guarded(self._state), methods=["GET"]),
            Route("/control/deliveries", self._guarded(self._deliveries), methods=["GET"]),
            Route("/control/faults", self._guarded(self._faults), methods=["GET"]),
            Route("/control/faults", self._guarded(self._set_faults), methods=["PATCH"]),
            Route("/control/pause", self._guarded(self._pause), methods=["POST"]),
            Route("/control/resume", self._guarded(self._resume), methods=["POST"]),
            Route("/control/rotate-token", self._guarded(self._rotate), methods=["POST"]),
            Route("/control/emit", self._guarded(self._emit), methods=["POST"]),
        ]

    def _guarded(self, endpoint: Any) -> Any:
        async def guarded(request: Request) -> Response:
            offered = request.headers.get("authorization", "").removeprefix("Bearer ")
            if self._token is not None and not hmac.compare_digest(offered.encode(), self._token.encode()):
                raise Problem(401)
            response: Response = await endpoint(request)
            return response

        return guarded

    async def _state(self, _request: Request) -> Response:
        tenant = self._fleet.tenant
        return JSONResponse(
            {
                "now": self._fleet.now.isoformat(),
                "paused": self._runner.is_paused,
                "evses": Counter(evse.status for evse in tenant.evses.values() if not evse.is_deleted),
                "sessions": Counter(session.status for session in tenant.sessions.values()),
                "deliveries": state(self._delivery),
                "calls": self._guard.calls,
            }
        )

    async def _deliveries(self, _request: Request) -> Response:
        return JSONResponse({"data": [asdict(one) for one in self._delivery.ledger]})

    async def _faults(self, _request: Request) -> Response:
        return JSONResponse(self._delivery.faults.model_dump())

    async def _set_faults(self, request: Request) -> Response:
        given = parsed(Faults, await request.body())
        self._delivery.faults = self._delivery.faults.model_copy(update=given.model_dump(exclude_unset=True))
        return JSONResponse(self._delivery.faults.model_dump())

    async def _pause(self, _request: Request) -> Response:
        self._runner.pause()
        return Response(status_code=204)

    async def _resume(self, _request: Request) -> Response:
        self._runner.resume()
        return Response(status_code=204)

    async def _rotate(self, request: Request) -> Response:
        wanted = parsed(_Rotation, await request.body() or b"{}")
        token = wanted.token or secrets.token_urlsafe(24)
        self._guard.token = token
        if wanted.resign:
            self._subscriptions.rotate(token)
        return JSONResponse({"token": token})

    async def _emit(self, request: Request) -> Response:
        wanted = parsed(_Emission, await request.body())
        body = wanted.body if wanted.body is not None else {"notification": wanted.notification}
        notification = Notification(wanted.notification, self._fleet.now, orjson.dumps(body))
        self._delivery.post([notification], self._fleet.now)
        return Response(status_code=202)
