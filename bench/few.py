"""What notifications cost that come a few at a time: statements and processor time of applying and deriving them.

A chunk and a round of deriving have a cost of their own, however few notifications they take.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, event, text

from analytics.derive import derive_round
from bench.costs import WARM_UP, seconds_of
from bench.load import Fleet, began_at
from bench.loading import apply, commit, progress_bar
from bench.signed import TENANT
from bench.surroundings import database_alone
from runtime.logging import configure_logging
from storage.connection import open_async_connection
from storage.database import connection_arguments, create_database_engine

#: How many notifications come together.
TOGETHER = (1, 10, 100)

#: How often each number is applied and derived before it is measured: a statement is planned each time at first.
PREPARE = 10

MILLISECONDS = 1e3


@dataclass(frozen=True, slots=True)
class Spent:
    """What applying or deriving took: statements, and milliseconds of processor time here and in Postgres."""

    statements: float
    own: float
    backend: float


@dataclass(frozen=True, slots=True)
class Few:
    """What so many notifications took that came together, the median of all repetitions."""

    together: int
    applied: Spent
    derived: Spent


def measure(repetitions: int) -> list[Few]:
    """Apply and derive notifications that come a few at a time; Postgres must run on this machine."""
    configure_logging("console", "warning", process="bench few")
    turns = PREPARE + repetitions
    bodies = Fleet(began_at()).bodies(WARM_UP + sum(TOGETHER) * turns)
    with (
        tempfile.TemporaryDirectory(prefix="ampeco-bench-") as made,
        database_alone(Path(made)) as url,
        progress_bar("few at a time", len(TOGETHER) * turns) as advance,
    ):
        engine = create_database_engine(url, application_name="bench few", pool_size=1)
        meter = Meter(engine)
        take(url, meter, list(islice(bodies, WARM_UP)))
        measured = []
        for together in TOGETHER:
            spent = []
            for _ in range(turns):
                spent.append(take(url, meter, list(islice(bodies, together))))
                advance(1)
            applied, derived = zip(*spent[PREPARE:], strict=True)
            measured.append(Few(together, _median(applied), _median(derived)))
        engine.dispose()
    return measured


class Meter:
    """Counts what work spends that uses an engine of one connection."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._statements = 0
        event.listen(engine, "before_cursor_execute", self._count)
        with engine.connect() as connection:
            self._pid: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()

    def _count(self, *_arguments: object) -> None:
        self._statements += 1

    def spent_on(self, work: Callable[[], object]) -> Spent:
        """Do the work; return what it took."""
        statements, own, backend = self._statements, time.process_time(), seconds_of(self._pid)
        work()
        return Spent(
            self._statements - statements,
            (time.process_time() - own) * MILLISECONDS,
            (seconds_of(self._pid) - backend) * MILLISECONDS,
        )


def take(url: str, meter: Meter, bodies: Sequence[bytes]) -> tuple[Spent, Spent]:
    """Commit notifications, apply them, and derive what they changed; return what the last two took."""
    asyncio.run(_commit(url, bodies))
    return meter.spent_on(lambda: apply(meter.engine)), meter.spent_on(lambda: derive(meter.engine))


async def _commit(url: str, bodies: Sequence[bytes]) -> None:
    async with await open_async_connection(connection_arguments(url, "bench few")) as connection:
        await commit(connection, bodies)


def derive(engine: Engine) -> None:
    """Derive everything that is marked, findings included."""
    while (done := derive_round(engine, TENANT)) is None or not done.is_done:
        pass


def _median(spent: Sequence[Spent]) -> Spent:
    return Spent(*(median(figures) for figures in zip(*map(astuple, spent), strict=True)))


def render(measured: Sequence[Few], console: Console) -> Table:
    """Return the table to print."""
    table = Table(
        box=box.ROUNDED if console.is_terminal else box.ASCII,
        title="Few notifications at a time: statements, and ms of processor time in our process + in Postgres",
        title_justify="left",
    )
    for heading in ("notifications", "apply: statements", "ms", "derive: statements", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for few in measured:
        cells = (
            cell
            for spent in (few.applied, few.derived)
            for cell in (f"{spent.statements:.0f}", f"{spent.own:.1f} + {spent.backend:.1f}")
        )
        table.add_row(f"{few.together:,}", *cells)
    return table
