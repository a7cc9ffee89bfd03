"""``/control``: the calls by which a person or a test controls the running simulator."""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.api.listings import MAX_DIGITS
from simulator.api.middleware import Guard
from simulator.api.problems import Problem
from simulator.api.requests import json_object, parsed, validated
from simulator.api.responses import json_response
from simulator.delivery.delivery import Delivery
from simulator.delivery.subscribers import Subscribers
from simulator.fleet.fleet import Fleet, Notification
from simulator.fleet.resources import instant
from simulator.runner import Runner
from simulator.settings import HEADER_TEXT, Faults

_HeaderText = Annotated[str, Field(pattern=HEADER_TEXT)]


class _Rotation(BaseModel):
    """The body of a token rotation; ``resign`` is whether existing subscriptions sign with the new token."""

    model_config = ConfigDict(extra="forbid")

    token: _HeaderText | None = None
    resign: bool = True


class _Emission(BaseModel):
    """The body of a call to send a notification; its ``body`` is sent unchanged and unchecked."""

    model_config = ConfigDict(extra="forbid")

    notification: _HeaderText
    body: Any


class Control:
    """The endpoints for the faults, token, clock and ledger of a running simulator."""

    def __init__(
        self,
        fleet: Fleet,
        runner: Runner,
        delivery: Delivery,
        subscribers: Subscribers,
        guard: Guard,
        control_token: str | None,
    ) -> None:
        self._fleet = fleet
        self._runner = runner
        self._delivery = delivery
        self._fault_injector = delivery.fault_injector
        self._subscribers = subscribers
        self._guard = guard
        self._token = control_token

    def routes(self) -> list[Route]:
        """Return the routes of ``/control``."""
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
        return json_response(
            {
                "now": instant(self._fleet.now),
                "speed": self._runner.speed,
                "paused": self._runner.is_paused,
                "lag_seconds": round(self._runner.lag_seconds, 3),
                "charge_points": Counter(point.network[-1].status for point in tenant.live_charge_points()),
                "evses": Counter(evse.status for evse in tenant.live_evses()),
                "sessions": Counter(session.status for session in tenant.sessions.values()),
                "subscriptions": len(self._subscribers.by_id),
                "deliveries": self._delivery.state(),
                "calls": self._guard.calls,
            }
        )

    async def _deliveries(self, request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not after.isdecimal() or len(after) > MAX_DIGITS:
            raise Problem(422, "The given data was invalid.", {"after": ["It must be a whole number."]})
        return json_response(self._delivery.ledger.page(int(after)))

    async def _faults(self, _request: Request) -> Response:
        return json_response(self._fault_injector.faults.model_dump(mode="json"))

    async def _set_faults(self, request: Request) -> Response:
        """Change the named faults and keep the others; the result as a whole must be valid."""
        changes = json_object(await request.body())
        self._fault_injector.faults = validated(Faults, self._fault_injector.faults.model_dump() | changes)
        return json_response(self._fault_injector.faults.model_dump(mode="json"))

    async def _pause(self, _request: Request) -> Response:
        self._runner.pause()
        return Response(status_code=204)

    async def _resume(self, _request: Request) -> Response:
        self._runner.resume()
        return Response(status_code=204)

    async def _rotate(self, request: Request) -> Response:
        rotation = parsed(_Rotation, await request.body() or b"{}")
        token = rotation.token or secrets.token_urlsafe(24)
        self._guard.token = token
        if rotation.resign:
            self._subscribers.rotate(token)
        return json_response({"token": token})

    async def _emit(self, request: Request) -> Response:
        emission = parsed(_Emission, await request.body())
        notification = Notification(emission.notification, self._fleet.now, orjson.dumps(emission.body))
        sent_to = self._delivery.emit(notification, self._subscribers.recipients_of(notification.name))
        return json_response({"subscriptions": sent_to}, 202)
