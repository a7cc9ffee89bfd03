"""What a notification costs by the number of notifications that are stored already.

The load of the benchmark is committed and applied through the service's own code, and what it left is copied, to other
sessions and to earlier times, until each number is stored. There the next notifications are measured. Only ratios
between the numbers count: they are measured in one run.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from bench.costs import Costs, least, measure_once
from bench.load import Fleet, began_at
from bench.loading import load, progress_bar
from bench.surroundings import database_alone
from runtime.logging import configure_logging
from storage.connection import open_async_connection
from storage.database import connection_arguments, create_database_engine
from storage.database_url import conninfo

#: The notifications that are stored when the costs are measured.
STORED = (10_000, 100_000, 1_000_000, 10_000_000)

#: So many are committed and applied; of more, what these left is copied.
APPLIED = 100_000

#: Measured at each number: rounds, and the notifications of a round.
ROUNDS = 4
ROUND = 5_000

#: More than the ids of the load's sessions.
IDS = 100_000_000

MIB = 1024 * 1024

_NEXT_ID = "{} + copy * " + str(IDS)
#: The digits of the variant, of which no id that was made has these; the last digits tell ids of one moment apart.
_NEXT_UUID = "CAST(overlay(CAST({} AS text) PLACING to_hex(49152 + copy) FROM 20) AS uuid)"
_EARLIER = "{column} - copy * (SELECT max({column}) - min({column}) + interval '10 seconds' FROM {table})"

#: The tables that grow with the notifications, and how the keys of a copied row differ from those of its original.
_COPIED = {
    "ingest.notification": {"notification_id": _NEXT_UUID, "batch_id": _NEXT_UUID},
    "ingest.batch": {"batch_id": _NEXT_UUID},
    "charging.session": {"session_id": _NEXT_ID, "authorization_id": _NEXT_ID},
    "charging.session_revision": {"session_id": _NEXT_ID},
    "charging.meter_value": {"session_id": _NEXT_ID},
    "charging.charging_period": {"charging_period_id": _NEXT_ID, "session_id": _NEXT_ID},
    'charging."authorization"': {"authorization_id": _NEXT_ID},
    "charging.evse_status_observation": {"observed_at": _EARLIER},
    "charging.charge_point_network_observation": {"observed_at": _EARLIER},
}

_COLUMNS = """
SELECT quote_ident(attname)
  FROM pg_attribute
 WHERE attrelid = CAST(%s AS regclass) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
 ORDER BY attnum
"""


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
    """Fill a new database up to each number in turn, and measure there.

    Parameters:
        stored: up to :data:`APPLIED` any numbers, above it multiples of it.

    Raises:
        BenchError, SettingsError: as :func:`bench.surroundings.database_alone`.
    """
    configure_logging("console", "warning", process="bench scale")
    bodies = Fleet(began_at()).bodies(APPLIED + (len(stored) + 1) * ROUNDS * ROUND)
    with (
        tempfile.TemporaryDirectory(prefix="ampeco-bench-") as made,
        database_alone(Path(made)) as url,
        psycopg.connect(conninfo(url), autocommit=True) as connection,
        progress_bar("storing notifications", max(stored)) as advance,
    ):
        engine = create_database_engine(url, application_name="bench scale", pool_size=1)
        applied, copies, scaled = 0, 0, []
        for number in sorted(stored):
            wanted = min(number, APPLIED)
            if wanted > applied:
                asyncio.run(_load(url, engine, islice(bodies, wanted - applied), advance))
                applied = wanted
            if number > APPLIED:
                if copies == 0:
                    _keep_originals(connection)
                for copy in range(copies + 1, number // APPLIED):
                    _copy(connection, copy)
                    advance(APPLIED)
                copies = number // APPLIED - 1
            connection.execute("TRUNCATE analytics.dirty")  # as if everything was derived
            connection.execute("VACUUM (ANALYZE)")
            scaled.append(_measure_at(url, engine, number, bodies))
        engine.dispose()
    return scaled


async def _load(url: str, engine: Engine, bodies: Iterator[bytes], advance: Callable[[int], None]) -> None:
    async with await open_async_connection(connection_arguments(url, "bench scale")) as connection:
        await load(connection, engine, bodies, advance)


def _keep_originals(connection: psycopg.Connection[Any]) -> None:
    """Keep aside what the applied notifications left, because what is measured adds to it."""
    connection.execute("CREATE SCHEMA original")
    for table in _COPIED:
        connection.execute(SQL(f"CREATE UNLOGGED TABLE {_original(table)} AS TABLE {table}"))


def _copy(connection: psycopg.Connection[Any], copy: int) -> None:
    """Add one copy of the originals to each table."""
    for table, keys in _COPIED.items():
        columns = [name for (name,) in connection.execute(_COLUMNS, (table,))]
        values = [
            keys[name].format(name, column=name, table=_original(table)) if name in keys else name for name in columns
        ]
        connection.execute(
            SQL(
                f"INSERT INTO {table} ({', '.join(columns)})"
                f" SELECT {', '.join(values)}"
                f" FROM {_original(table)}, (VALUES (CAST({copy} AS bigint))) AS number (copy)"
            )
        )


def _original(table: str) -> str:
    return f"original.{table.partition('.')[2]}"


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
