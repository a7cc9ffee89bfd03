"""What a million notifications take on the disk: in the log, in the state, and in its history.

The load of the benchmark is committed and applied as the service does it, without the
HTTP in between, and the tables are measured before and after. Tables that hold as many rows as
the fleet has entities do not grow with it, and are left out of what is reckoned.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.load import Fleet, began_at
from bench.signed import TENANT
from bench.surroundings import database_alone
from storage.database import connection_arguments, create_database_engine
from storage.database_url import conninfo
from storage.inbox import CommitGroup, Entry, commit_groups
from storage.session import open_async_connection
from workers.apply import apply_open_batches
from workers.logs import configure_logging

MILLION = 1_000_000

#: Notifications of a commit under load; a quiet receiver commits each by itself, which adds a row of
#: `ingest.batch` for each.
TOGETHER = 25

#: Commits between two rounds of applying.
COMMITS = 40

_SIZES = """
SELECT coalesce(parent.oid, found.oid)::regclass::text,
       sum(pg_relation_size(found.oid)),
       sum(pg_indexes_size(found.oid)),
       sum(pg_table_size(found.oid) - pg_relation_size(found.oid))
  FROM pg_class AS found
  JOIN pg_namespace ON pg_namespace.oid = found.relnamespace
  LEFT JOIN pg_inherits ON pg_inherits.inhrelid = found.oid
  LEFT JOIN pg_class AS parent ON parent.oid = pg_inherits.inhparent
 WHERE nspname IN ('ingest', 'charging')
   AND found.relkind = 'r'
 GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of one table: its rows, its indexes, and what is kept beside (long values, maps)."""

    rows: int = 0
    indexes: int = 0
    beside: int = 0

    @property
    def total(self) -> int:
        return self.rows + self.indexes + self.beside

    def less(self, other: Size) -> Size:
        return Size(self.rows - other.rows, self.indexes - other.indexes, self.beside - other.beside)


@dataclass(frozen=True, slots=True)
class Growth:
    """What ``notifications`` with so many bytes of bodies added, by table."""

    notifications: int
    body_bytes: int
    tables: dict[str, Size]

    def per_million(self, size: int) -> float:
        return size * MILLION / self.notifications


def measure(notifications: int) -> Growth:
    """Load so many notifications into a database of their own, and look how it grew."""
    configure_logging("console", "warning", process="bench disk")
    with (
        tempfile.TemporaryDirectory(prefix="ampeco-bench-") as made,
        database_alone(Path(made)) as url,
        psycopg.connect(conninfo(url), autocommit=True) as connection,
    ):
        before = _sizes(connection)
        body_bytes = asyncio.run(_load(url, notifications))
        connection.execute("VACUUM")
        after = _sizes(connection)
    grown = {table: size.less(before.get(table, Size())) for table, size in after.items()}
    return Growth(notifications, body_bytes, {table: size for table, size in grown.items() if size.total > 0})


async def _load(url: str, notifications: int) -> int:
    bodies = Fleet(began_at()).bodies(notifications)
    engine = create_database_engine(url, application_name="bench disk", pool_size=2)
    size = 0
    arguments = connection_arguments(url, "bench disk")
    with _bar(notifications) as advance:
        async with await open_async_connection(arguments) as connection:
            while together := list(islice(bodies, TOGETHER * COMMITS)):
                for first in range(0, len(together), TOGETHER):
                    entries = [_entry(body) for body in together[first : first + TOGETHER]]
                    await commit_groups(connection, [CommitGroup(TENANT, entries)])
                size += sum(map(len, together))
                while apply_open_batches(engine):
                    pass
                advance(len(together))
    engine.dispose()
    return size


def _entry(body: bytes) -> Entry:
    headers = {"X-Timestamp": "2026-03-04T07:04:01.215334Z", "X-Tenant": "42", "X-Webhook-Id": "12"}
    return Entry(TENANT, body, headers, "0123abcd", "hex")


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Any]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("loading", total=total)
        yield lambda done: progress.advance(task, done)


def _sizes(connection: psycopg.Connection[Any]) -> dict[str, Size]:
    return {name: Size(*map(int, sizes)) for name, *sizes in connection.execute(_SIZES)}


def render(growth: Growth, console: Console) -> Table:
    """The table for people, largest first; what takes less than a MB a million is one line."""
    table = Table(
        box=box.ROUNDED if console.is_terminal else box.ASCII,
        title=f"MB for a million notifications, measured with {growth.notifications:,}"
        f" of {growth.body_bytes / growth.notifications:,.0f} bytes each",
        title_justify="left",
    )
    table.add_column("table", no_wrap=True)
    for heading in ("rows", "indexes", "beside", "together"):
        table.add_column(heading, justify="right", no_wrap=True)

    def add(name: str, size: Size) -> None:
        figures = (size.rows, size.indexes, size.beside, size.total)
        table.add_row(name, *(f"{growth.per_million(one) / MILLION:,.0f}" for one in figures))

    small, total = Size(), Size()
    for name, size in sorted(growth.tables.items(), key=lambda item: -item[1].total):
        total = total.less(Size(-size.rows, -size.indexes, -size.beside))
        if growth.per_million(size.total) < MILLION:
            small = small.less(Size(-size.rows, -size.indexes, -size.beside))
        else:
            add(name, size)
    add("all others", small)
    table.add_section()
    add("together", total)
    return table
