"""Real servers for every test that wants one.

``DATABASE_URL`` and ``REDIS_URL`` name the servers; unset, embedded ones are started for the
run. Each test that writes for good has a database of its own, copied from a migrated one.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, settings
from sqlalchemy import Connection, Engine, make_url

import migrations
from receiver.processes.embedded import embedded_postgres, embedded_redis
from storage.database import create_database_engine
from storage.database_url import conninfo
from storage.inbox.partitions import make_partitions
from tests.support.directories import short_directory
from tests.support.statements import check_executed_statements, refused_statements

settings.register_profile(
    "project",
    deadline=None,  # the machine may be busy
    derandomize=True,  # a failure is there on every run, or on none
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("project")

pytest_plugins = ["tests.support.fault_fixtures"]

check_executed_statements()


@pytest.fixture(autouse=True)
def _statements_are_accepted() -> Iterator[None]:
    """Fail if the service executed a statement that a database distributed by tenant refuses."""
    yield
    assert refused_statements() == []


_numbers = itertools.count()


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[str, str]]:
    """The URLs of Postgres and Redis; of tests that run side by side each process has its own database there."""
    database_url, redis_url = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    if redis_url is not None and (worker := os.environ.get("PYTEST_XDIST_WORKER")) is not None:
        redis_url += f"{'&' if '?' in redis_url else '?'}db={worker.removeprefix('gw')}"
    if database_url is not None and redis_url is not None:
        yield database_url, redis_url
        return
    with (
        short_directory() as directory,
        embedded_postgres(directory / "pg") as postgres,
        embedded_redis(directory / "redis") as own_redis,
    ):
        yield database_url or postgres, redis_url or own_redis


def _administrate(database_url: str, statement: str) -> None:
    with psycopg.connect(conninfo(database_url), autocommit=True) as connection:
        connection.execute(statement.encode())


def _named(database_url: str, name: str) -> str:
    return make_url(database_url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def migrated(servers: tuple[str, str]) -> Iterator[str]:
    """The name of a migrated database that nobody writes to: the template of the others."""
    name = f"rt_{os.getpid()}_template"
    _administrate(servers[0], f"CREATE DATABASE {name}")
    engine = create_database_engine(_named(servers[0], name), application_name="tests", pool_size=1)
    migrations.upgrade(engine)
    make_partitions(engine)
    engine.dispose()
    yield name
    _administrate(servers[0], f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(servers: tuple[str, str], migrated: str) -> Iterator[str]:
    """A migrated database for one test."""
    name = f"rt_{os.getpid()}_{next(_numbers)}"
    _administrate(servers[0], f"CREATE DATABASE {name} TEMPLATE {migrated}")
    yield _named(servers[0], name)
    _administrate(servers[0], f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(servers: tuple[str, str]) -> Iterator[str]:
    """A database without any table of ours."""
    name = f"rt_{os.getpid()}_{next(_numbers)}"
    _administrate(servers[0], f"CREATE DATABASE {name}")
    yield _named(servers[0], name)
    _administrate(servers[0], f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a database for one test."""
    engine = create_database_engine(database_url, application_name="tests", pool_size=5)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def shared_engine(servers: tuple[str, str], migrated: str) -> Iterator[Engine]:
    """An engine on a database that nobody commits to."""
    name = f"rt_{os.getpid()}_shared"
    _administrate(servers[0], f"CREATE DATABASE {name} TEMPLATE {migrated}")
    engine = create_database_engine(_named(servers[0], name), application_name="tests", pool_size=2)
    yield engine
    engine.dispose()
    _administrate(servers[0], f"DROP DATABASE {name} WITH (FORCE)")


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
