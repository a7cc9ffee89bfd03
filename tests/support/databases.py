"""Databases for tests on the shared server."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator

import psycopg
from sqlalchemy import Engine, make_url, text

import migrations
from storage.database import create_database_engine
from storage.database_url import conninfo
from storage.inbox.partitions import make_partitions
from storage.state.meter_partitions import make_meter_partitions
from tests.support.service import url_of


def administrate(database_url: str, *statements: str) -> None:
    """Run statements outside of a transaction."""
    with psycopg.connect(conninfo(database_url), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def named(database_url: str, name: str) -> str:
    """Return the URL of another database of a server."""
    return make_url(database_url).set(database=name).render_as_string(hide_password=False)


def migrate(database_url: str) -> None:
    """Make the tables, and the partitions for today and this month."""
    engine = create_database_engine(database_url, application_name="tests", pool_size=1)
    migrations.upgrade(engine)
    make_partitions(engine)
    make_meter_partitions(engine)
    engine.dispose()


class Databases:
    """Makes databases for tests, and drops them.

    Postgres refuses to drop a database until its last connection has ended, and looks every tenth of a second. So a
    database is dropped when the next one is made.
    """

    def __init__(self, url: str, template: str) -> None:
        self._url, self._template = url, template
        self._numbers = itertools.count()
        self._released: list[str] = []

    @contextlib.contextmanager
    def database(self, *, template: str | None = None) -> Iterator[str]:
        """Make a database, and yield its URL; it is migrated unless another template is given."""
        name = f"rt_{os.getpid()}_{next(self._numbers)}"
        # Files are copied with what Postgres keeps of the catalog for new connections, and without writing a log of it.
        template = f"TEMPLATE {template or self._template} STRATEGY FILE_COPY"
        administrate(self._url, *self._drops(), f"CREATE DATABASE {name} {template}")
        yield named(self._url, name)
        self._released.append(name)

    def drop(self) -> None:
        """Drop the databases that no test uses any more."""
        administrate(self._url, *self._drops())

    def _drops(self) -> list[str]:
        drops = [f"DROP DATABASE {name} WITH (FORCE)" for name in self._released]
        self._released.clear()
        return drops


@contextlib.contextmanager
def database_user(owner: Engine, name: str, *, options: str = "") -> Iterator[str]:
    """Make a user that logs in; yield the database's URL for it."""
    name = f"{name}_{os.getpid()}"
    with owner.begin() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN {options}"))
    try:
        yield make_url(url_of(owner)).set(username=name, password=None).render_as_string(False)
    finally:
        owner.dispose()
        with owner.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {name}"))
            connection.execute(text(f"DROP ROLE {name}"))
