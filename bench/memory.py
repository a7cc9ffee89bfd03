"""The memory of every process of the service while it works at a steady rate, for an hour or longer.

The load stays with the same sessions and EVSEs, so that only what the service keeps of each notification could grow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import redis
from rich import box
from rich.console import Console
from rich.table import Table

from bench.applied import wait_until_derived, wait_until_settled
from bench.generator import Generator
from bench.load import Fleet, began_at
from bench.loading import progress_bar
from bench.signed import write_requests
from bench.surroundings import Surroundings, surroundings

CONNECTIONS = 16

#: The load comes in parts of this length, and after each the memory is read.
PART_SECONDS = 60

#: The table shows this many times, evenly spread, and for each the median of as many readings up to it.
COLUMNS = 4
READINGS = 5

REDIS = "redis"

_PROCESSES = "SELECT name, pid FROM ingest.process WHERE stopped_at IS NULL ORDER BY name"


@dataclass(frozen=True, slots=True)
class Held:
    """The memory that was held after some minutes, in MiB, by process."""

    minutes: float
    mib: dict[str, float]


def measure(minutes: int, rate: int) -> list[Held]:
    """Run the receiver and its workers under a steady load, and read their memory after each minute.

    Parameters:
        minutes: how long; what happens once an hour is in it from 60 on.
        rate: notifications a second.

    Raises:
        BenchError: a notification was refused or not applied, or a process ended.
        SettingsError: as :func:`bench.surroundings.surroundings`.
    """
    begins_at = began_at()
    with (
        tempfile.TemporaryDirectory(prefix="ampeco-bench-") as made,
        surroundings(Path(made), begins_at.isoformat()) as ground,
        ground.workers(),
        ground.connect() as connection,
        progress_bar("minutes under load", minutes) as advance,
    ):
        generator, fleet, held = Generator(CONNECTIONS, ground.folder), Fleet(begins_at), []
        requests, ledger = ground.folder / "part.requests", ground.folder / "ledger.json"
        for part in range(1, minutes * 60 // PART_SECONDS + 1):
            write_requests(requests, fleet.bodies(rate * PART_SECONDS))
            generator.steady(ground.ports["ours"], requests, PART_SECONDS, rate, ledger)
            wait_until_settled(connection, ground)
            held.append(Held(part * PART_SECONDS / 60, _read(connection, ground)))
            advance(1)
        wait_until_derived(connection, ground)
    return held


def _read(connection: psycopg.Connection[Any], ground: Surroundings) -> dict[str, float]:
    mib = {name: _resident_kib(pid) / 1024 for name, pid in connection.execute(_PROCESSES)}
    with redis.Redis.from_url(ground.redis_url) as client:
        mib[REDIS] = client.info("memory")["used_memory"] / 1024**2
    return mib


def _resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def shown(held: Sequence[Held], name: str) -> list[float]:
    """Return the memory of a process at each time of the table, MiB."""
    ends = [len(held) * column // COLUMNS for column in range(1, COLUMNS + 1)]
    return [median(each.mib[name] for each in held[max(end - READINGS, 0) : end]) for end in ends]


def render(held: Sequence[Held], rate: int, console: Console) -> Table:
    """Return the table to print: the memory of each process, and the last column's ratio to the first."""
    table = Table(
        box=box.ROUNDED if console.is_terminal else box.ASCII,
        title=f"Memory of each process, MiB, at {rate:,} notifications a second",
        title_justify="left",
    )
    table.add_column("", no_wrap=True)
    for column in range(1, COLUMNS + 1):
        table.add_column(f"{held[len(held) * column // COLUMNS - 1].minutes:g} min", justify="right", no_wrap=True)
    table.add_column("last / first", justify="right", no_wrap=True)
    for name in held[-1].mib:
        figures = shown(held, name)
        table.add_row(name, *(f"{figure:.1f}" for figure in figures), f"{figures[-1] / figures[0]:.2f}")
    return table
