"""The consoles of the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

#: The width of tables if the output is a file or another command and has no window.
PLAIN_WIDTH = 140


#: A value of at most so many characters, such as a number or a time, stays in one line of a table.
SHORT_VALUE = 20


class TableConsole(Console):
    """A console that cuts no value: a table that does not fit becomes a block of lines for each row."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts, or one table."""
        if len(objects) == 1 and isinstance(objects[0], Table) and not _fit(self, objects[0]):
            for line in _blocks(objects[0]):
                super().print(line, soft_wrap=True, highlight=False)
        else:
            super().print(*objects, **options)


def _fit(console: Console, table: Table) -> bool:
    """Set the widths of the columns so that no word and no short value is broken; return False if that is too wide.

    Rich alone shrinks the widest columns first and breaks the words in them.
    """
    columns = _texts(table)
    widest = [max(map(_longest_line, column)) for column in columns]
    widths = [max(map(_least_width, column)) for column in columns]
    borders = Measurement.get(console, console.options.update(width=10_000), table).maximum - sum(widest)
    room = console.width - borders - sum(widths)
    if room < 0:
        return False
    # Those that lack little get it first, so that as few columns as possible are wrapped.
    for index in sorted(range(len(widths)), key=lambda index: widest[index] - widths[index]):
        more = min(widest[index] - widths[index], room)
        widths[index] += more
        room -= more
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
        column.overflow = "fold"
    return True


def _texts(table: Table) -> list[list[Text]]:
    """Return the heading and the cells of each column."""
    return [
        [cell if isinstance(cell, Text) else Text(str(cell)) for cell in (column.header, *column.cells)]
        for column in table.columns
    ]


def _longest_line(text: Text) -> int:
    return max((line.cell_len for line in text.split()), default=0)


def _least_width(text: Text) -> int:
    longest = _longest_line(text)
    return longest if longest <= SHORT_VALUE else max((Text(word).cell_len for word in text.plain.split()), default=0)


def _blocks(table: Table) -> Iterator[Text]:
    """Yield a table as lines ``name: value``, with an empty line before each row."""
    if table.title:
        yield Text(str(table.title), style="italic")
    headings, *rows = zip(*_texts(table), strict=True)
    for row in rows:
        yield Text()
        for heading, value in zip(headings, row, strict=True):
            yield Text.assemble(heading, ": ", value)


def _console(*, stderr: bool) -> Console:
    """Return a console that prints each text as it is: an error of AMPECO may look like Rich's markup."""
    default = TableConsole(stderr=stderr, markup=False, emoji=False)
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
