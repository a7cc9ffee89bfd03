"""What can be followed live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from receiver.console.console import Console
from receiver.console.live.poller import Topic
from receiver.console.pages import now, sessions


def topics(console: Console) -> Mapping[str, Topic]:
    """Return the topics of a console by name; a page follows one at ``/live/NAME``."""

    def activity(connection: Connection) -> Mapping[str, Any]:
        return now.live(connection, console.settings.tenants)

    def running(tenant: str) -> Topic:
        return Topic("live/running_sessions.html", lambda connection: sessions.live(connection, tenant))

    return {
        "now": Topic("live/now.html", activity),
        **{f"sessions-{tenant}": running(tenant) for tenant in console.settings.tenants},
    }
