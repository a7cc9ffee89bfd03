"""The consoles of the command line."""

from __future__ import annotations

import os
from datetime import datetime
from uuid import UUID

from rich.console import Console

#: The width of tables if the output is a file or another command and has no window.
PLAIN_WIDTH = 140


def _console(*, stderr: bool) -> Console:
    default = Console(stderr=stderr)
    return default if default.is_terminal or "COLUMNS" in os.environ else Console(stderr=stderr, width=PLAIN_WIDTH)


console = _console(stderr=False)
errors = _console(stderr=True)


def age(seconds: float | None) -> str:
    """Format an age in one unit: ``3 s``, ``2 min``, ``5 h``, ``4 d``; a dash for None."""
    if seconds is None:
        return "–"
    for limit, unit, size in ((120, "s", 1), (7_200, "min", 60), (172_800, "h", 3_600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def json_value(value: datetime | UUID) -> str:
    """Return the text of a value that JSON does not know."""
    return value.isoformat() if isinstance(value, datetime) else str(value)
