"""Parse a notification's body with the model of its type.

The ``notification`` key, which every body has, selects the model (AMPECO API, callbacks of
notifications v2.0).
"""

from __future__ import annotations

from typing import Any

from ampeco.errors import NoHandler, UnknownNotification
from ampeco.notifications.catalogue import lookup
from ampeco.notifications.payloads import Payload


def parse(body: dict[str, Any]) -> Payload:
    """Parse a notification's body with the model of its type.

    Raises:
        UnknownNotification: the catalogue does not contain its type.
        NoHandler: its type is known, but we keep no state of it.
        pydantic.ValidationError: a field that identifies its entity or orders its fact is missing
            or cannot be parsed.
    """
    name = body.get("notification")
    known = lookup(name) if isinstance(name, str) else None
    if known is None:
        raise UnknownNotification(name)
    if known.handler is None:
        raise NoHandler(known.name)
    return known.handler.read(body)
