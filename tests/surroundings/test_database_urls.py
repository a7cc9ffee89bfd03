"""Both ways to Postgres go where libpq would go: with odd passwords and names, several hosts, folders and options."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, LiteralString
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from receiver.accept.committer import GroupCommitter
from storage.database import create_database_engine
from tests.support.address import moving_address
from tests.support.servers import PostgresServer, own_postgres, standby_of

USER = 'o\'dd "user" @ / é'
PASSWORD = "it's a /:@%?#&= \\ +\"é' 100%"
DATABASE = "my db/with: @ % é"

ASKED = "SELECT current_user, current_database(), current_setting('work_mem'), current_setting('TimeZone')"


@dataclass
class Odd:
    """A server on two addresses, whose user, password and database are as odd as they may be."""

    server: PostgresServer
    port: int


@pytest.fixture(scope="module")
def odd() -> Iterator[Odd]:
    with own_postgres() as server, moving_address(server.socket) as address:
        with server.connect("postgres") as connection:
            name, secret = sql.Identifier(USER), sql.Literal(PASSWORD)
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, secret))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
            (server.directory / "data" / "pg_hba.conf").write_text(
                "local all postgres trust\nlocal all all scram-sha-256\n"
            )
            connection.execute("SELECT pg_reload_conf()")
        yield Odd(server, address.port)


def both(url: str, asked: LiteralString = ASKED) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What the server says of a connection of an engine, and of the committer's."""
    engine = create_database_engine(url, application_name="tests", pool_size=1)
    with engine.connect() as connection:
        by_engine = tuple(connection.execute(text(asked)).one())
    engine.dispose()

    async def ask() -> tuple[Any, ...]:
        committer = GroupCommitter(
            url, lambda _groups: None, commit_timeout=timedelta(seconds=3), waiting_room=1, waiting_bytes=1
        )
        async with await committer._connected() as connection:
            return await (await connection.execute(asked)).fetchone() or ()

    return by_engine, asyncio.run(ask())


def encoded(value: object) -> str:
    return quote(str(value), safe="")


FORMS = {
    "url": "postgresql://{user}:{password}@127.0.0.1:{port}/{database}?options=-c%20work_mem%3D7MB",
    "driver": "postgresql+psycopg://{user}:{password}@127.0.0.1:{port}/{database}?options=-c%20work_mem%3D7MB",
    "hosts": "postgresql://{user}:{password}@127.0.0.1:1,127.0.0.1:{port}/{database}?options=-cwork_mem%3D7MB",
    "hosts as parameters": (
        "postgresql:///{database}?host=127.0.0.1,127.0.0.1&port=1,{port}&user={user}&password={password}"
        "&options=-c%20work_mem%3D7MB"
    ),
    "folder": "postgresql://{user}:{password}@{folder}/{database}?options=-c%20work_mem%3D7MB",
    "certificates": (
        "postgresql://{user}:{password}@127.0.0.1:{port}/{database}?sslmode=prefer&sslrootcert=/etc/my%20certs/ca.pem"
        "&options=-c%20work_mem%3D7MB%20-c%20TimeZone%3DAsia/Tokyo"
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_both_connections_are_the_one_that_the_url_means(odd: Odd, form: str) -> None:
    url = FORMS[form].format(
        user=encoded(USER),
        password=encoded(PASSWORD),
        database=encoded(DATABASE),
        port=odd.port,
        folder=encoded(odd.server.directory),
    )
    assert both(url) == ((USER, DATABASE, "7MB", "UTC"),) * 2


def test_a_connection_string_is_as_good_as_a_url(odd: Odd) -> None:
    string = psycopg.conninfo.make_conninfo(
        host=str(odd.server.directory), user=USER, password=PASSWORD, dbname=DATABASE, options="-c work_mem=7MB"
    )
    assert both(string) == ((USER, DATABASE, "7MB", "UTC"),) * 2


def test_of_several_hosts_the_one_that_takes_writes_is_used() -> None:
    with own_postgres() as primary, standby_of(primary) as standby:
        hosts = ",".join(encoded(server.directory) for server in (standby, primary))
        url = f"postgresql://postgres@{hosts}/postgres"
        asked = "SELECT pg_is_in_recovery()"
        with psycopg.connect(url) as connection:
            assert connection.execute(asked).fetchone() == (True,)  # where libpq goes by itself
        assert both(url, asked) == ((False,), (False,))
