"""The page *Actions*: who did what in the console, when, and to how many."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.console.console import Console
from receiver.console.queries import Query, decode_log_position, encode_position
from storage.operator_actions import list_actions

#: Actions on a page.
PAGE_SIZE = 50


async def show(request: Request) -> Response:
    """Show the page."""
    console = Console.of(request)
    tenant = console.tenant_of(request) if request.query_params.get("tenant") else None
    actor = Query(request.query_params).text("actor")
    before = decode_log_position(request.query_params.get("before"))
    names = [tenant] if tenant else sorted(console.settings.tenants)
    actions = await console.read(
        lambda connection: list_actions(connection, names, actor=actor, before=before, limit=PAGE_SIZE + 1)
    )
    shown = actions[:PAGE_SIZE]
    following = encode_position(shown[-1].began_at, shown[-1].action_id) if len(actions) > PAGE_SIZE else None
    return console.page(
        request, "actions.html", tenant=tenant, actor=actor, actions=shown, following=following, is_first=before is None
    )


routes = [Route("/actions", show)]
