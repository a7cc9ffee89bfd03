"""The processor time of committing and applying a notification, in our process and in its Postgres connection.

Time that passes depends on what else the machine does; processor time does so much less.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import Engine, text

from bench.disk import TOGETHER, entry_of
from bench.load import Fleet, began_at
from bench.signed import TENANT
from bench.surroundings import database_alone
from runtime.logging import configure_logging
from storage.database import connection_arguments, create_database_engine
from storage.inbox.commit import CommitGroup, commit_groups
from storage.session import open_async_connection
from workers.apply.apply import apply_open_batches

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
        _measure(url, engine, list(islice(bodies, WARM_UP)))
        costs = [_measure(url, engine, list(islice(bodies, notifications))) for _ in range(rounds)]
        engine.dispose()
    return costs


def _measure(url: str, engine: Engine, bodies: Sequence[bytes]) -> Costs:
    commit, commit_backend = asyncio.run(_commit(url, bodies))
    with engine.connect() as connection:
        pid: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    began, began_backend = time.process_time(), _seconds_of(pid)
    while apply_open_batches(engine):
        pass
    spent = (commit, commit_backend, time.process_time() - began, _seconds_of(pid) - began_backend)
    return Costs(*(seconds / len(bodies) * MICROSECONDS for seconds in spent))


async def _commit(url: str, bodies: Sequence[bytes]) -> tuple[float, float]:
    async with await open_async_connection(connection_arguments(url, "bench costs")) as connection:
        pid = connection.info.backend_pid
        began, began_backend = time.process_time(), _seconds_of(pid)
        for first in range(0, len(bodies), TOGETHER):
            entries = [entry_of(body) for body in bodies[first : first + TOGETHER]]
            await commit_groups(connection, [CommitGroup(TENANT, entries)])
        return time.process_time() - began, _seconds_of(pid) - began_backend


def _seconds_of(pid: int) -> float:
    """Return the processor time of a process; Linux counts it in nanoseconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def render(costs: Sequence[Costs]) -> str:
    """Return the lines to print: the least of each cost, because other work of the machine only adds to it."""
    least = {name: min(getattr(one, name) for one in costs) for name in Costs.__dataclass_fields__}
    return "\n".join(
        [
            f"Processor time for each notification, the least of {len(costs)} rounds:",
            f"commit  {least['commit']:6.1f} us in our process, {least['commit_backend']:6.1f} us in Postgres",
            f"apply   {least['apply']:6.1f} us in our process, {least['apply_backend']:6.1f} us in Postgres",
        ]
    )
