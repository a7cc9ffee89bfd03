"""Fixtures of the fault and surroundings suites: servers to kill, and the table with the outcome of every 2xx."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.box import ASCII
from rich.console import Console
from rich.table import Table

from storage.database import create_database_engine
from tests.support.processes import processes
from tests.support.servers import PostgresServer, own_postgres, own_redis
from tests.support.service import eventually
from tests.support.trial import Ground, Line

_TABLE = pytest.StashKey[list[Line]]()
_FIGURES = pytest.StashKey[dict[str, str]]()


@pytest.fixture(scope="session")
def fault_table(pytestconfig: pytest.Config) -> list[Line]:
    """Return the lines of the table that is printed at the end."""
    return pytestconfig.stash.setdefault(_TABLE, [])


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> dict[str, str]:
    """Return the measurements that are printed at the end, and not asserted."""
    return pytestconfig.stash.setdefault(_FIGURES, {})


@pytest.fixture
def ground(prepared: Path, fault_table: list[Line], tmp_path: Path) -> Iterator[Ground]:
    """Run the service: a receiver and a worker, on servers of their own."""
    with own_postgres(like=prepared) as postgres, ground_of(postgres, postgres.url, fault_table, tmp_path) as ground:
        yield ground


@contextlib.contextmanager
def ground_of(
    postgres: PostgresServer,
    database_url: str,
    fault_table: list[Line],
    directory: Path,
    *,
    redis_executable: str | None = None,
) -> Iterator[Ground]:
    """Run the service, which reaches its Postgres by any URL; the test itself connects to the server directly."""
    with (
        own_redis(executable=redis_executable) as redis_server,
        processes(database_url, redis_server.url, directory) as service,
    ):
        engine = create_database_engine(postgres.url, application_name="tests", pool_size=2)
        worker = service.work()  # first, so that both start at the same time
        receiver = service.serve()
        eventually(lambda: service.log.read_text().count('"working"') == 1, seconds=60)
        ground = Ground(postgres, redis_server, service, engine, receiver, worker, fault_table)
        yield ground
        ground.engine.dispose()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the tables of the suites."""
    if lines := config.stash.get(_TABLE, []):
        table = Table("fault", box=ASCII)
        for heading in ("requests", "2xx", "503", "lost", "duplicated effects", "seconds until caught up"):
            table.add_column(heading, justify="right")
        for line in lines:
            counts = (line.requests, line.accepted, line.unavailable, line.lost, line.duplicated)
            table.add_row(line.fault, *(f"{count:,}" for count in counts), f"{line.caught_up_seconds:.1f}")
        _show(terminalreporter, "Faults under load", table)
    if figures := config.stash.get(_FIGURES, {}):
        table = Table("figure", "", box=ASCII, show_header=False)
        for name, value in figures.items():
            table.add_row(name, value)
        _show(terminalreporter, "Overload", table)


def _show(terminalreporter: pytest.TerminalReporter, title: str, table: Table) -> None:
    console = Console(width=130)
    with console.capture() as captured:
        console.print(table)
    terminalreporter.section(title)
    terminalreporter.write(captured.get())
