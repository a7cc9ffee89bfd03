"""A small fake of AMPECO's API for the tests of refreshing; the test sets its resources and answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.facts import SAMPLES
from tests.support.service import TOKEN


def shown(name: str) -> dict[str, Any]:
    """Return the data of a documented answer, by its file's name without the extension."""
    data: dict[str, Any] = json.loads((SAMPLES / "rest" / f"{name}.json").read_text())["data"]
    return data


class FakeAmpeco:
    """A fake that answers reads with ``resources``, by path below ``/public-api/resources/``.

    ``refusal`` answers every call instead: a status and its headers. ``forbidden`` contains what the
    token may not read: resources, such as ``users``, or single paths. ``listings`` has full listings
    by path and filter value, ``everything`` by path for queries without a filter. ``answers`` has
    precedence over all of them, by path.
    """

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, Any]] = {
            "sessions/v1.0/77120": shown("session_read"),
            "charge-points/v2.0/418": shown("charge_point_read"),
            "evses/v2.1/902": shown("evse_read"),
            "evses/v2.0/902/latest-hardware-status-log": shown("latest_hardware_status_log"),
            "charge-points/v2.0/418/latest-network-status-log": shown("latest_network_status_log"),
        }
        self.refusal: tuple[int, dict[str, str]] | None = None
        self.forbidden: set[str] = set()
        self.listings: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.answers: dict[str, Callable[[Request], Response]] = {}
        self.everything: dict[str, list[dict[str, Any]]] = {}
        self.calls: Counter[str] = Counter()
        self.app = Starlette(routes=[Route("/public-api/resources/{path:path}", self._answer)])

    async def _answer(self, request: Request) -> Response:
        path = request.path_params["path"]
        self.calls[path] += 1
        if request.headers["authorization"] != f"Bearer {TOKEN}" and self.refusal is None:
            return JSONResponse({"message": "Unauthenticated."}, 401)
        if path in self.answers:
            return self.answers[path](request)
        if self.refusal is not None:
            return JSONResponse({"message": "no"}, self.refusal[0], headers=self.refusal[1])
        if not self.forbidden.isdisjoint({path.partition("/")[0], path}):
            return JSONResponse({"message": "This action is unauthorized."}, 403)
        if request.query_params:
            filters = [
                value
                for name, value in request.query_params.items()
                if name.startswith("filter[") and name != "filter[roaming]"  # it has no entities of partners
            ]
            if filters:
                return JSONResponse({"data": self.listings.get((path, filters[0]), []), "links": {"next": None}})
            if path.count("/") == 1:
                return JSONResponse({"data": self.everything.get(path, []), "links": {"next": None}})
        if path not in self.resources:
            return JSONResponse({"message": "The record is not found"}, 404)
        return JSONResponse({"data": self.resources[path]})
