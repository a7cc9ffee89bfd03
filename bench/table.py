"""The table, and the line with the environment in which it was measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib.metadata import version

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from bench.generator import Figures
from bench.results import RATIOS, Results, Round, Spread
from bench.surroundings import Surroundings

#: The width of output that does not go to a terminal.
PLAIN_WIDTH = 130

_SHOWN = ("server_version", "fsync", "synchronous_commit")

_RATIO = {ratio.name: ratio for ratio in RATIOS}


def create_console() -> Console:
    """Return a console that writes plain text if the output is not a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def environment(ground: Surroundings, generator: str, connections: int, seconds: int, busy: float) -> dict[str, str]:
    """Return the environment of the measurements; ``busy`` is the load average before anything was started."""
    with ground.connect() as connection:
        rows = connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(_SHOWN),))
        shown = dict(rows.fetchall())
    return {
        "CPUs": f"{os.cpu_count()} (load average at the start {busy:.1f})",
        "Python": platform.python_version(),
        "PostgreSQL": f"{shown['server_version']} (fsync {shown['fsync']},"
        f" synchronous_commit {shown['synchronous_commit']})",
        **{name: version(name) for name in ("starlette", "uvicorn", "psycopg")},
        "load": f"{generator}, {connections} connections, {seconds} s each",
    }


def render(results: Results, console: Console) -> Group:
    """Return the results of a run in the form to print."""
    table = Table(box=box.ROUNDED if console.is_terminal else box.ASCII, title=None)
    table.add_column("", no_wrap=console.is_terminal is False)
    for heading in ("per second", "p50 ms", "p99 ms", "ratio", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    _row(table, results, "(a) signature only", lambda measured: measured.baseline)
    _row(table, results, "(b) ours: accepted", lambda measured: measured.ours, "b/a")
    _row(table, results, "(c) one INSERT each", lambda measured: measured.one_insert, "b/c")
    table.add_row(
        "(d) ours: accepted and applied",
        _spread(results.spread(lambda measured: measured.applied.per_second), ",.0f"),
        _figure(results, lambda measured: measured.applied.sent.p50_ms),
        _figure(results, lambda measured: measured.applied.sent.p99_ms),
        *_ratio(results, "d/a"),
    )
    if results.visible:
        seen = results.visible
        rate = f"{seen.rate:,}"
        table.add_row("(e) 202 to visible, steady", rate, f"{seen.p50_ms:.1f}", f"{seen.p99_ms:.1f}")
        derived = (f"{seen.derived_p50_ms:.1f}", f"{seen.derived_p99_ms:.1f}")
        table.add_row("    visible to derived", rate, *derived)
    _row(table, results, "(f) ours: accepted, while all is derived", lambda measured: measured.beside_deriving, "f/b")
    rounds = len(results.rounds)
    note = f"Medians of {rounds} rounds, in brackets lowest and highest." if rounds > 1 else "One round."
    machine = " · ".join(f"{name} {value}" for name, value in results.environment.items())
    return Group(table, Text(note), Text(machine))


def _row(table: Table, results: Results, name: str, of: Callable[[Round], Figures], ratio: str | None = None) -> None:
    table.add_row(
        name,
        _spread(results.spread(lambda measured: of(measured).per_second), ",.0f"),
        _figure(results, lambda measured: of(measured).p50_ms),
        _figure(results, lambda measured: of(measured).p99_ms),
        *(_ratio(results, ratio) if ratio else ("", "")),
    )


def _figure(results: Results, of: Callable[[Round], float]) -> str:
    return f"{results.spread(of).median:.1f}"


def _ratio(results: Results, name: str) -> tuple[str, str]:
    ratio = _RATIO[name]
    spread = results.spread(ratio.of)
    met = "[green]met[/]" if spread.median >= ratio.goal else "[red]missed[/]"
    return f"{name} = {_spread(spread, '.2f')}", f"≥ {ratio.goal:g} {met}"


def _spread(spread: Spread, form: str) -> str:
    if spread.least == spread.most:
        return format(spread.median, form)
    return f"{spread.median:{form}} ({spread.least:{form}}–{spread.most:{form}})"
