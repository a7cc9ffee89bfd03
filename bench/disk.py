"""Measure the disk space of a million notifications: in the log, in the state and in the history.

The load of the benchmark is committed and applied as in the service, but without HTTP, and the
tables are measured before and after. Tables with one row for each entity of the fleet do not grow
with the load, so they have little weight in the result.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from rich import box
from rich.console import Console
from rich.table import Table

from bench.load import Fleet, began_at
from bench.loading import load, progress_bar
from bench.surroundings import database_alone
from runtime.logging import configure_logging
from storage.connection import open_async_connection
from storage.database import connection_arguments, create_database_engine
from storage.database_url import conninfo

MILLION = 1_000_000

_SIZES = """
SELECT coalesce(parent.oid, relation.oid)::regclass::text,
       sum(pg_relation_size(relation.oid)),
       sum(pg_indexes_size(relation.oid)),
       sum(pg_table_size(relation.oid) - pg_relation_size(relation.oid))
  FROM pg_class AS relation
  JOIN pg_namespace ON pg_namespace.oid = relation.relnamespace
  LEFT JOIN pg_inherits ON pg_inherits.inhrelid = relation.oid
  LEFT JOIN pg_class AS parent ON parent.oid = pg_inherits.inhparent
 WHERE nspname IN ('ingest', 'charging')
   AND relation.relkind = 'r'
 GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Size:
    """The bytes of one table: its rows, its indexes, and the rest (``beside``: long values, maps)."""

    rows: int = 0
    indexes: int = 0
    beside: int = 0

    @property
    def total(self) -> int:
        """All bytes of the table."""
        return self.rows + self.indexes + self.beside

    def less(self, other: Size) -> Size:
        """Subtract another size from this one."""
        return Size(self.rows - other.rows, self.indexes - other.indexes, self.beside - other.beside)


@dataclass(frozen=True, slots=True)
class Growth:
    """The growth of each table by ``notifications`` with ``body_bytes`` of bodies in total."""

    notifications: int
    body_bytes: int
    tables: dict[str, Size]

    def per_million(self, size: int) -> float:
        """Scale a size to a million notifications."""
        return size * MILLION / self.notifications


def measure(notifications: int) -> Growth:
    """Load notifications into a new database, and measure the growth of its tables."""
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
    with progress_bar("loading", notifications) as advance:
        async with await open_async_connection(connection_arguments(url, "bench disk")) as connection:
            size = await load(connection, engine, bodies, advance)
    engine.dispose()
    return size


def _sizes(connection: psycopg.Connection[Any]) -> dict[str, Size]:
    return {name: Size(*map(int, sizes)) for name, *sizes in connection.execute(_SIZES)}


def render(growth: Growth, console: Console) -> Table:
    """Return the table to print, largest first; all tables below one MB a million share one line."""
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
        parts = (size.rows, size.indexes, size.beside, size.total)
        table.add_row(name, *(f"{growth.per_million(part) / MILLION:,.0f}" for part in parts))

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
