"""The pages of a replay: the count before it, its progress, and its result."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ampeco.notifications.catalogue import why_unknown
from receiver.console.command_lines import replay_command
from receiver.console.console import STATEMENT_TIMEOUT, Console, require_actor
from receiver.console.log_filter import LABELS, LogFilter, read_filter
from receiver.console.queries import parse_id
from storage.clock import clock
from storage.inbox.retention import complete_since
from storage.log.read import count
from storage.operator_actions import load_action


async def confirm(request: Request) -> Response:
    """Show how many notifications a replay would apply again, and the form that starts it."""
    console = Console.of(request)
    selection = _replayable(read_filter(request.query_params, console.tenant_of(request), clock.now()).fixed())

    def query(connection: Connection) -> dict[str, Any]:
        return {
            "complete_since": complete_since(connection),
            "expected": count(connection, selection.scope, timeout=STATEMENT_TIMEOUT),
        }

    return console.page(
        request,
        "replay.html",
        tenant=selection.scope.tenant,
        selection=selection,
        labels=LABELS,
        command=replay_command(selection.scope),
        **await console.read(query),
    )


async def start(request: Request) -> Response:
    """Start a replay, and lead to its progress."""
    actor = require_actor(request)
    console = Console.of(request)
    form = await request.form()
    selection = _replayable(read_filter(form, console.tenant_of(request), clock.now()))
    expected = parse_id(str(form.get("expected", "")))
    if expected is None:
        raise HTTPException(400, "The form does not say how many notifications were shown.")
    started = await run_in_threadpool(console.replays.start, selection.scope, actor.name, expected)
    return RedirectResponse(f"/tenants/{selection.scope.tenant}/replays/{started.action_id}", 303)


async def show(request: Request) -> Response:
    """Show the progress of a replay, or its result."""
    return await _show(request, "replaying.html")


async def stop(request: Request) -> Response:
    """Stop a replay, and lead back to its page, which shows how far it came."""
    actor = require_actor(request)
    console = Console.of(request)
    tenant = console.tenant_of(request)
    replay = console.replays.named(tenant, request.path_params["action_id"])
    if replay is None:
        raise HTTPException(404, "This console runs no replay with this id.")
    await run_in_threadpool(console.replays.stop_one, replay, actor.name)
    return RedirectResponse(f"/tenants/{tenant}/replays/{replay.action_id}", 303)


async def progress(request: Request) -> Response:
    """Answer with the part of the page that changes."""
    return await _show(request, "parts/replaying.html")


async def _show(request: Request, template: str) -> Response:
    console = Console.of(request)
    tenant = console.tenant_of(request)
    action_id: UUID = request.path_params["action_id"]
    action = await console.read(lambda connection: load_action(connection, tenant, action_id))
    if action is None or action.action != "replay":
        raise HTTPException(404, "There is no replay with this id.")
    replay = console.replays.named(tenant, action_id)
    return console.page(request, template, tenant=tenant, action=action, replay=replay)


def _replayable(selection: LogFilter) -> LogFilter:
    """Return the filter of a replay.

    Raises:
        HTTPException: 400, a part of it is not understood, or selects what cannot be replayed.
    """
    problems = list(selection.problems)
    if selection.is_pending:
        problems.append("Notifications that wait are applied by the workers: replay those that were handled.")
    name = selection.scope.notification_type
    if name is not None and (problem := why_unknown(name)) is not None:
        problems.append(f"Type: {problem}")
    if problems:
        raise HTTPException(400, " ".join(problems))
    return selection


routes = [
    Route("/notifications/replay", confirm, methods=["GET"]),
    Route("/notifications/replay", start, methods=["POST"]),
    Route("/tenants/{tenant}/replays/{action_id:uuid}", show),
    Route("/tenants/{tenant}/replays/{action_id:uuid}/progress", progress),
    Route("/tenants/{tenant}/replays/{action_id:uuid}/stop", stop, methods=["POST"]),
]
