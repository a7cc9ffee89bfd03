"""The consoles that the command line prints to: tables on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os

from rich.console import Console

#: Where the output goes into a file or another command, no window says how wide a table may be.
PLAIN_WIDTH = 140


def _console(*, stderr: bool) -> Console:
    made = Console(stderr=stderr)
    return made if made.is_terminal or "COLUMNS" in os.environ else Console(stderr=stderr, width=PLAIN_WIDTH)


console = _console(stderr=False)
errors = _console(stderr=True)


def age(seconds: float | None) -> str:
    """An age as people say it: ``3 s``, ``2 min``, ``5 h``, ``4 d``; a dash for none."""
    if seconds is None:
        return "–"
    for limit, unit, size in ((120, "s", 1), (7_200, "min", 60), (172_800, "h", 3_600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
