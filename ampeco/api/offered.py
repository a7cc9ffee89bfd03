"""Which version of an endpoint a tenant offers.

AMPECO replaces versions of endpoints, and a tenant may get a release weeks after it is published.
"""

from __future__ import annotations

import time
from typing import Any

from ampeco.resources.kind import Kind

#: How long an older version is used before the newest is tried again, in seconds: tenants get a release in weeks.
TRY_NEWEST_AFTER_SECONDS = 86_400.0


class OfferedPaths:
    """The paths that one tenant offers, by kind; safe to share between threads and clients."""

    def __init__(self) -> None:
        self._used: dict[str, tuple[str, float]] = {}

    def paths(self, kind: Kind[Any]) -> tuple[str, ...]:
        """Return the paths of a kind's listing in the order in which to try them; never empty.

        While an older version is used, the newer ones come last: a release may have brought one and removed the other.
        """
        path, until = self._used.get(kind.name, (kind.path, 0.0))
        if time.monotonic() >= until:
            return kind.paths
        used = kind.paths.index(path)
        return kind.paths[used:] + kind.paths[:used]

    def remember(self, kind: Kind[Any], path: str) -> None:
        """Record that the tenant offers a path, and none that is newer."""
        if path == kind.path:
            self._used.pop(kind.name, None)
        elif self.paths(kind)[0] != path:
            self._used[kind.name] = path, time.monotonic() + TRY_NEWEST_AFTER_SECONDS
