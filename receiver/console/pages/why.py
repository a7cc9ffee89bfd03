"""The page *Why*: of each field of an entity, which notification or read set it, when, and what it replaced."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import orjson
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from receiver.console.console import Console
from receiver.console.queries import Query, id_of_path
from receiver.console.source_search import find_sources
from storage.documents import encode_value
from storage.reports.provenance import provenance
from storage.reports.session import pending_read
from storage.schema.entities import MIRRORS
from storage.schema.tracked import TRACKED

#: The kinds with a page of their own, and its place below the tenant.
PAGES = {"location": "locations", "charge_point": "charge-points", "evse": "evses", "session": "sessions"}


async def choose(request: Request) -> Response:
    """Show the form to choose an entity, or lead to the page of the one that is chosen."""
    console = Console.of(request)
    tenant = console.tenant_of(request)
    query = Query(request.query_params)
    kind, entity_id = query.choice("kind", MIRRORS), query.identifier("id")
    if kind is not None and entity_id is not None and not query.problems:
        return RedirectResponse(f"/tenants/{quote(tenant)}/why/{kind}/{entity_id}", 303)
    return console.page(
        request, "why_form.html", tenant=tenant, kinds=list(MIRRORS), kind=kind, problems=query.problems
    )


async def show(request: Request) -> Response:
    """Show the page of an entity."""
    console = Console.of(request)
    tenant = console.tenant_of(request)
    kind, entity_id = request.path_params["kind"], id_of_path(request, "entity_id")
    if kind not in MIRRORS:
        raise HTTPException(404, "No such kind of entity is mirrored.")

    def read(connection: Connection) -> dict[str, Any]:
        entity = provenance(connection, tenant, kind, entity_id)
        return {
            "entity": entity,
            "sources": {} if entity is None else find_sources(connection, tenant, entity),
            "pending": pending_read(connection, tenant, kind, entity_id),
        }

    values = await console.read(read)
    return console.page(
        request,
        "why.html",
        tenant=tenant,
        kind=kind,
        entity_id=entity_id,
        kinds=list(MIRRORS),
        own_page=PAGES.get(kind),
        is_tracked=kind in TRACKED or kind == "session",
        as_text=as_text,
        **values,
    )


def as_text(value: Any) -> str:
    """Write JSON as text, a text as it is."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value, default=encode_value, option=orjson.OPT_INDENT_2).decode()


routes = [
    Route("/why", choose),
    Route("/tenants/{tenant}/why/{kind}/{entity_id}", show),
]
