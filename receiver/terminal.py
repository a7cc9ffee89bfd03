"""The consoles of the command line."""

from __future__ import annotations

import os

from rich.console import Console
from rich.text import Text

#: The width of tables if the output is a file or another command and has no window.
PLAIN_WIDTH = 140


def _console(*, stderr: bool) -> Console:
    """Return a console that prints each text as it is: an error of AMPECO may look like Rich's markup."""
    default = Console(stderr=stderr, markup=False, emoji=False)
    if not default.is_terminal and "COLUMNS" not in os.environ:
        default.width = PLAIN_WIDTH
    return default


console = _console(stderr=False)
errors = _console(stderr=True)


def styled(style: str, words: str, rest: str = "") -> Text:
    """Return words in a style, such as ``red``, and the rest of the line without one."""
    return Text.assemble((words, style), rest)


def print_line(line: str) -> None:
    """Print a line at once, for a program that reads it from a pipe."""
    print(line, flush=True)  # noqa: T201 - a console would wrap it


def age(seconds: float | None) -> str:
    """Format an age in one unit: ``3 s``, ``2 min``, ``5 h``, ``4 d``; a dash for None."""
    if seconds is None:
        return "–"
    for limit, unit, size in ((120, "s", 1), (7_200, "min", 60), (172_800, "h", 3_600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
