"""The command line that replays a selection of notifications, for pages that show how to do the same in a terminal."""

from __future__ import annotations

import difflib
import shlex
from datetime import UTC, datetime

from ampeco.notifications.catalogue import CATALOGUE, lookup
from storage.log.scope import BEFORE_ANY, Scope

#: The options that select notifications, with the attribute of a scope that each gives.
_OPTIONS = {
    "--type": "notification_type",
    "--state": "state",
    "--reason": "reason",
    "--session": "session_id",
    "--evse": "evse_id",
    "--charge-point": "charge_point_id",
    "--containing": "containing",
    "--id": "notification_id",
}


def command_line(scope: Scope) -> str:
    """Return the command that replays a scope, quoted for a shell."""
    words = ["ampeco-receiver", "replay", "--tenant", scope.tenant]
    if scope.notification_id is None:
        if scope.since > BEFORE_ANY or scope.state != "failed":
            words += ["--from", _iso(scope.since)]
        words += ["--to", _iso(scope.until)]
    for option, attribute in _OPTIONS.items():
        value = getattr(scope, attribute)
        if value is not None:
            # Joined by a sign of equality, because a value may begin with a hyphen.
            words.append(f"{option}={value}")
    return shlex.join(words)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def unknown_type(name: str) -> str | None:
    """Return why notifications of a type cannot be replayed, in one sentence; None if they can."""
    if lookup(name) is not None:
        return None
    close = difflib.get_close_matches(name, [entry.name for entry in CATALOGUE], n=1)
    suggestion = f" Did you mean {close[0]}?" if close else ""
    return f"this release does not know {name}, and applying it again would change nothing.{suggestion}"
