"""The page *Notifications*: search the log, and see what failed by its cause."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ampeco.notifications.catalogue import CATALOGUE
from receiver.console.console import Console
from receiver.console.log_filter import STATES, LogFilter, read_filter
from receiver.console.queries import decode_log_position, encode_position
from storage.clock import clock
from storage.log.read import log_begins
from storage.log.scope import BEFORE_ANY, Position, Scope
from storage.log.search import MAX_READ, search
from storage.monitoring.traffic import estimate
from storage.reports.notifications import MAX_FAILURES, causes

#: Notifications on a page.
PAGE_SIZE = 50

TYPES = tuple(sorted(known.name for known in CATALOGUE))


@dataclass(frozen=True, slots=True)
class Reading:
    """What a search for a text will read.

    Attributes:
        first_at: when the oldest notification that it may read was received.
        last_at: when it ends.
        days: how many days of the log it may read.
        notifications: about how many notifications these hold.
    """

    first_at: datetime
    last_at: datetime
    days: int
    notifications: int


async def show(request: Request) -> Response:
    """Show the page."""
    console = Console.of(request)
    selection = read_filter(request.query_params, console.tenant_of(request), clock.now())
    position = decode_log_position(request.query_params.get("before"))
    before = None if position is None else Position(*position)
    scope = selection.scope
    # A text is looked for in each body, so the page first says how many bodies that are.
    is_asked = scope.containing is None or request.query_params.get("read") == "1"

    def query(connection: Connection) -> dict[str, Any]:
        return {
            "reading": None if scope.containing is None else reading(connection, scope),
            "found": search(connection, scope, is_pending=selection.is_pending, before=before, limit=PAGE_SIZE)
            if is_asked
            else None,
            "causes": causes(connection, scope.tenant, *_span_of_causes(selection)) if before is None else [],
        }

    values = await console.read(query)
    return console.page(
        request,
        "notifications.html",
        tenant=scope.tenant,
        selection=selection,
        replays=console.replays.under_way(scope.tenant),
        is_first=before is None,
        encode_position=encode_position,
        states=STATES,
        types=TYPES,
        max_read=MAX_READ,
        max_failures=MAX_FAILURES,
        **values,
    )


def reading(connection: Connection, scope: Scope) -> Reading:
    """Return what a search for a text will read."""
    begins = log_begins(connection, scope.tenant) or scope.until
    first_at = min(max(scope.since, begins), scope.until)
    last_at = min(scope.until, clock.now())
    days = (last_at - timedelta(microseconds=1)).date() - first_at.date()
    count = estimate(connection, scope.tenant, first_at, scope.until)
    return Reading(first_at, last_at, max(days.days, 0) + 1, count)


def _span_of_causes(selection: LogFilter) -> tuple[datetime, datetime]:
    """Return the time whose failures are grouped: the whole log, unless the filter names a time."""
    has_time = "from" in selection.given or "to" in selection.given
    return (selection.scope.since, selection.scope.until) if has_time else (BEFORE_ANY, clock.now())


routes = [Route("/notifications", show)]
