"""The processor time of committing and applying a notification, in our process and in its Postgres connection.

Time that passes depends on what else the machine does; processor time does so much less.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path

from sqlalchemy import Engine, text

from bench.load import Fleet, began_at
from bench.loading import apply, commit
from bench.surroundings import database_alone
from runtime.logging import configure_logging
from storage.connection import open_async_connection
from storage.database import connection_arguments, create_database_engine

MICROSECONDS = 1e6

#: Applied first, so that everything is loaded and planned.
WARM_UP = 2_000


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds of processor time for each notification.

    ``backend`` is that of the Postgres processes of the connections, without those that write the WAL and the pages.
    """

    commit: float
    commit_backend: float
    apply: float
    apply_backend: float


def measure(notifications: int, rounds: int) -> list[Costs]:
    """Commit and apply notifications several times; Postgres must run on this machine."""
    configure_logging("console", "warning", process="bench costs")
    bodies = Fleet(began_at()).bodies(WARM_UP + notifications * rounds)
    with tempfile.TemporaryDirectory(prefix="ampeco-bench-") as made, database_alone(Path(made)) as url:
        engine = create_database_engine(url, application_name="bench costs", pool_size=1)
        measure_once(url, engine, list(islice(bodies, WARM_UP)))
        costs = [measure_once(url, engine, list(islice(bodies, notifications))) for _ in range(rounds)]
        engine.dispose()
    return costs


def measure_once(url: str, engine: Engine, bodies: Sequence[bytes]) -> Costs:
    """Commit and apply all bodies, over a connection each."""
    spent_commit = asyncio.run(_commit(url, bodies))
    with engine.connect() as connection:
        pid: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    began, began_backend = time.process_time(), seconds_of(pid)
    apply(engine)
    spent = (*spent_commit, time.process_time() - began, seconds_of(pid) - began_backend)
    return Costs(*(seconds / len(bodies) * MICROSECONDS for seconds in spent))


async def _commit(url: str, bodies: Sequence[bytes]) -> tuple[float, float]:
    async with await open_async_connection(connection_arguments(url, "bench costs")) as connection:
        pid = connection.info.backend_pid
        began, began_backend = time.process_time(), seconds_of(pid)
        await commit(connection, bodies)
        return time.process_time() - began, seconds_of(pid) - began_backend


def least(costs: Sequence[Costs]) -> Costs:
    """Return the least of each cost, because other work of the machine only adds to it."""
    return Costs(*(min(getattr(one, field.name) for one in costs) for field in fields(Costs)))


def seconds_of(pid: int) -> float:
    """Return the processor time of a process; Linux counts it in nanoseconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def render(costs: Sequence[Costs]) -> str:
    """Return the lines to print."""
    lowest = least(costs)
    return "\n".join(
        [
            f"Processor time for each notification, the least of {len(costs)} rounds:",
            f"commit  {lowest.commit:6.1f} us in our process, {lowest.commit_backend:6.1f} us in Postgres",
            f"apply   {lowest.apply:6.1f} us in our process, {lowest.apply_backend:6.1f} us in Postgres",
        ]
    )
