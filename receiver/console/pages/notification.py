"""The page of one notification: its body, what became of it, and what it changed."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ampeco.notifications.catalogue import NotificationType, lookup
from ampeco.privacy.body_redaction import redact_secrets
from receiver.console.console import Console
from storage.reports.notifications import StoredNotification, effects, load_notification
from storage.state.changes import ChangeSet
from workers.apply.apply import parse_all

_INDENT = "  "

#: The parts of a JSON document: strings, brackets with nothing in them, punctuation, and everything else.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\{\s*\}|\[\s*\]|[{}\[\],:]|[^\s{}\[\],:"]+')

#: Deeper levels are not indented any further.
_MAX_INDENT = 20


async def show(request: Request) -> Response:
    """Show the page."""
    console = Console.of(request)
    tenant = console.tenant_of(request)
    notification_id: UUID = request.path_params["notification_id"]

    def query(connection: Connection) -> dict[str, Any] | None:
        notification = load_notification(connection, tenant, notification_id)
        if notification is None:
            return None
        changes = _changes(notification)
        return {
            "notification": notification,
            "effects": effects(connection, tenant, notification_id, changes),
        }

    values = await console.read(query)
    if values is None:
        raise HTTPException(404, "The log holds no notification with this id, or no longer: old days are dropped.")
    notification: StoredNotification = values["notification"]
    known = lookup(notification.notification_type or "")
    return console.page(
        request,
        "notification.html",
        tenant=tenant,
        # The log keeps secrets until the notification is applied.
        body=indented(redact_secrets(notification.body)),
        explanation=explanation(notification.notification_type, known),
        **values,
    )


def explanation(name: str | None, known: NotificationType | None) -> str:
    """Return what a type of notification is and what the service does with it, in a sentence or two."""
    if name is None:
        return "The body names no type."
    if known is None:
        return "This release does not know the type: it is kept in the log, and a later release may apply it."
    status = {
        "current": "A current type of AMPECO",
        "deprecated": "A deprecated type of AMPECO",
        "undocumented": "A type whose content AMPECO does not document",
    }[known.status]
    successor = "" if known.successor is None else f", replaced by {known.successor}"
    if known.handler is None:
        return f"{status}{successor}. No state is kept of it."
    description = " ".join((inspect.getdoc(known.handler) or "").replace("``", "").split())
    meaning = description.partition(". ")[0].rstrip(".")
    return f"{status}{successor}. {meaning}."


def indented(body: bytes) -> str:
    """Return a body with line breaks and indents and nothing else changed; one that is not JSON as it is."""
    text = body.decode("utf-8", "backslashreplace")
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return text
    return "".join(_with_breaks(text))


def _with_breaks(text: str) -> Iterator[str]:
    depth = 0

    def line() -> str:
        return "\n" + _INDENT * min(depth, _MAX_INDENT)

    for part in _TOKEN.findall(text):
        if part in "{[":
            depth += 1
            yield part + line()
        elif part in "}]":
            depth -= 1
            yield line() + part
        elif part == ",":
            yield part + line()
        elif part == ":":
            yield ": "
        else:
            yield part


def _changes(notification: StoredNotification) -> ChangeSet:
    """Return what a notification says, as this release reads it."""
    return parse_all([notification.logged]).changes


routes = [Route("/tenants/{tenant}/notifications/{notification_id:uuid}", show)]
