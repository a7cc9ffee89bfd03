"""What a notification costs by the number of notifications that are stored already.

One process commits and applies the load of the benchmark until each number is reached, through the service's own code,
and measures the next notifications there. Only ratios between the numbers count: they are measured in one run.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path

import psycopg
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from bench.costs import Costs, least, measure_once
from bench.load import Fleet, began_at
from bench.loading import load, progress_bar
from bench.surroundings import database_alone
from runtime.logging import configure_logging
from storage.database import connection_arguments, create_database_engine
from storage.database_url import conninfo
from storage.session import open_async_connection

#: The notifications that are stored when the costs are measured.
STORED = (10_000, 100_000, 1_000_000, 10_000_000)

#: Measured at each number: rounds, and the notifications of a round.
ROUNDS = 4
ROUND = 5_000

#: The fleet's clocks advance by less than this with a million notifications.
CLOCKS_PER_MILLION = timedelta(hours=6)

MILLION = 1_000_000
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scaled:
    """What was measured once ``stored`` notifications were stored and applied.

    ``memory`` is what the process holds, ``database`` the size of the database, both in bytes.
    """

    stored: int
    costs: Costs
    memory: int
    database: int


def measure(stored: Sequence[int]) -> list[Scaled]:
    """Load up to each number in turn, and measure there."""
    configure_logging("console", "warning", process="bench scale")
    largest = max(stored)
    bodies = Fleet(began_at() - CLOCKS_PER_MILLION * (largest / MILLION)).bodies(largest + ROUNDS * ROUND)
    console = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory(prefix="ampeco-bench-") as made,
        database_alone(Path(made)) as url,
        progress_bar("loading", largest) as advance,
    ):
        engine = create_database_engine(url, application_name="bench scale", pool_size=1)
        before, scaled = 0, []
        for number in sorted(stored):
            asyncio.run(_load(url, engine, islice(bodies, number - before), advance))
            scaled.append(_measure_at(url, engine, number, bodies))
            before = number + ROUNDS * ROUND
            if not console.is_terminal:
                console.print(f"{number:,} stored: {scaled[-1].costs}", highlight=False)
        engine.dispose()
    return scaled


async def _load(url: str, engine: Engine, bodies: Iterator[bytes], advance: Callable[[int], None]) -> None:
    async with await open_async_connection(connection_arguments(url, "bench scale")) as connection:
        await load(connection, engine, bodies, advance)


def _measure_at(url: str, engine: Engine, stored: int, bodies: Iterator[bytes]) -> Scaled:
    costs = [measure_once(url, engine, list(islice(bodies, ROUND))) for _ in range(ROUNDS)]
    with psycopg.connect(conninfo(url)) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return Scaled(stored, least(costs), _resident_bytes(), row[0] if row else 0)


def _resident_bytes() -> int:
    """Return the memory of this process; Linux counts it in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024


def render(scaled: Sequence[Scaled], console: Console) -> Table:
    """Return the table to print: the costs at each number, and their ratio to the first."""
    table = Table(
        box=box.ROUNDED if console.is_terminal else box.ASCII,
        title="Microseconds of processor time for each notification, by the notifications that are stored",
        title_justify="left",
    )
    table.add_column("", no_wrap=True)
    for each in scaled:
        table.add_column(f"{each.stored:,}", justify="right", no_wrap=True)

    def add(name: str, of: Callable[[Scaled], float], form: str = ".0f") -> None:
        first = of(scaled[0])
        cells = [
            f"{of(each):{form}}" + (f"  × {of(each) / first:.2f}" if each is not scaled[0] else "") for each in scaled
        ]
        table.add_row(name, *cells)

    add("commit, in our process", lambda each: each.costs.commit)
    add("commit, in Postgres", lambda each: each.costs.commit_backend)
    add("apply, in our process", lambda each: each.costs.apply)
    add("apply, in Postgres", lambda each: each.costs.apply_backend)
    table.add_section()
    add("memory of our process, MiB", lambda each: each.memory / MIB)
    add("database, MiB", lambda each: each.database / MIB, ",.0f")
    return table
