"""Helpers for the API's read endpoints: endpoints, JSON answers and query parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response

from simulator.api.listings import Listing
from simulator.api.problems import Problem

ROOT = "/public-api/resources"

Endpoint = Callable[[Request], Any]
Entity = TypeVar("Entity")


def json_response(content: Any, status: int = 200) -> Response:
    """Return a response with JSON content."""
    return Response(orjson.dumps(content), status, media_type="application/json")


def one(show: Callable[[Request], Any]) -> Endpoint:
    """Return an endpoint that answers with one resource, wrapped in ``data``."""

    async def endpoint(request: Request) -> Response:
        return json_response({"data": show(request)})

    return endpoint


def many(listing: Callable[[Request], Listing[Any]]) -> Endpoint:
    """Return an endpoint that answers with a page of a listing."""

    async def endpoint(request: Request) -> Response:
        url = str(request.url.replace(query=""))
        return json_response(listing(request).answer(url, request.query_params.multi_items()))

    return endpoint


def found(entities: dict[int, Entity], request: Request, name: str = "id") -> Entity:
    """Return the entity that a request's path names.

    Raises:
        Problem: 404, the entity does not exist or is deleted.
    """
    entity = entities.get(request.path_params[name])
    if entity is None or getattr(entity, "is_deleted", False):
        raise Problem(404)
    return entity


def flag(request: Request, name: str) -> bool:
    """Return the value of a ``with…`` parameter, which is false by default."""
    return request.query_params.get(name, "false") in ("true", "1")


def includes(request: Request, name: str) -> bool:
    """Return whether ``include[]``, with any index, names a part."""
    return any(key.startswith("include[") and part == name for key, part in request.query_params.multi_items())
