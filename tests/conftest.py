"""Real servers for every test that uses one.

``DATABASE_URL`` and ``REDIS_URL`` name the servers; unset, embedded ones are started for each process of the run. Each
test that commits has a database of its own, copied from a migrated one.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import gc
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from hypothesis import HealthCheck, settings
from sqlalchemy import Connection, Engine

from receiver.processes.embedded import embedded_postgres, embedded_redis
from storage.database import create_database_engine
from tests.support.databases import Databases, administrate, migrate, named
from tests.support.directories import short_directory
from tests.support.servers import DATABASE
from tests.support.statements import check_executed_statements, refused_statements

# Without bytecode each process that a test starts compiles the whole project again, for two seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Far more objects are made than are ever in a cycle: looking for cycles less often costs some memory and saves much time.
gc.set_threshold(20_000, 10, 10)

settings.register_profile(
    "project",
    deadline=None,  # the machine may be busy
    derandomize=True,  # a failure is there on every run, or on none
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("project")

pytest_plugins = ["tests.support.fault_fixtures"]

# Each client would read the certificates of the machine again, which takes as long as a short test.
httpx._transports.default.create_ssl_context = functools.cache(httpx.create_ssl_context)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _statements_are_accepted() -> Iterator[None]:
    """Fail if the service executed a statement that a database distributed by tenant refuses."""
    yield
    assert refused_statements() == []


_RUN_DIRECTORY = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Make a directory for the run, which its processes share."""
    if hasattr(config, "workerinput"):
        directory = Path(config.workerinput["run_directory"])
    else:
        stack = contextlib.ExitStack()
        directory = stack.enter_context(short_directory())
        config.add_cleanup(stack.close)
    config.stash[_RUN_DIRECTORY] = directory
    check_executed_statements(directory / "statements")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the path of the directory to a process of the run."""
    node.workerinput["run_directory"] = str(node.config.stash[_RUN_DIRECTORY])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what is collected out of garbage collections: it stays for the whole run, and each would look at it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use the servers, so that `make unit` runs without any."""
    for item in items:
        if isinstance(item, pytest.Function) and {"prepared", "postgres", "servers"} & set(item.fixturenames):
            item.add_marker("server")


@pytest.fixture(scope="session")
def prepared(pytestconfig: pytest.Config) -> Path:
    """The data directory of a migrated Postgres that is stopped; one process of the run makes it for all."""
    directory = pytestconfig.stash[_RUN_DIRECTORY]
    data = directory / "prepared" / "data"
    done = directory / "prepared.done"
    with (directory / "prepared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            with embedded_postgres(data.parent) as url:
                administrate(url, f"CREATE DATABASE {DATABASE}")
                migrate(named(url, DATABASE))
            done.touch()
    return data


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The URL of Postgres, and the name of a migrated database that no test writes to: the template of the others."""
    if (url := os.environ.get("DATABASE_URL")) is not None:
        name = f"rt_{os.getpid()}_template"
        administrate(url, f"CREATE DATABASE {name}")
        migrate(named(url, name))
        yield url, name
        administrate(url, f"DROP DATABASE {name} WITH (FORCE)")
        return
    prepared: Path = request.getfixturevalue("prepared")
    with short_directory() as directory:
        data = directory / "pg" / "data"
        data.parent.mkdir()
        subprocess.run(["cp", "-a", str(prepared), str(data)], check=True)
        # The tests that kill Postgres have servers of their own; this one is never started again.
        with (data / "postgresql.auto.conf").open("a") as configuration:
            configuration.write("fsync = off\nfull_page_writes = off\n")
        with embedded_postgres(data.parent) as url:
            yield url, DATABASE


@pytest.fixture(scope="session")
def servers(postgres: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The URLs of Postgres and Redis; each process of the run has a number of its own in a Redis that is given."""
    database_url, _ = postgres
    redis_url = os.environ.get("REDIS_URL")
    if redis_url is None:
        with short_directory() as directory, embedded_redis(directory / "redis") as own_redis:
            yield database_url, own_redis
        return
    if (worker := os.environ.get("PYTEST_XDIST_WORKER")) is not None:
        redis_url += f"{'&' if '?' in redis_url else '?'}db={worker.removeprefix('gw')}"
    yield database_url, redis_url


@pytest.fixture(scope="session")
def databases(postgres: tuple[str, str]) -> Iterator[Databases]:
    """What makes databases on the shared server."""
    databases = Databases(*postgres)
    yield databases
    databases.drop()


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A migrated database for one test."""
    with databases.database() as url:
        yield url


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """A database without any table of ours."""
    with databases.database(template="template1") as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a database for one test."""
    engine = create_database_engine(database_url, application_name="tests", pool_size=5)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def shared_engine(databases: Databases) -> Iterator[Engine]:
    """An engine on a database that no test commits to."""
    with databases.database() as url:
        engine = create_database_engine(url, application_name="tests", pool_size=2)
        yield engine
        engine.dispose()


@pytest.fixture
def connection(shared_engine: Engine) -> Iterator[Connection]:
    """A connection whose transaction is rolled back."""
    with shared_engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


@pytest.fixture
def redis_url(servers: tuple[str, str]) -> Iterator[str]:
    """An empty Redis."""
    client = redis.Redis.from_url(servers[1])
    client.flushdb()
    yield servers[1]
    client.flushdb()
    client.close()
