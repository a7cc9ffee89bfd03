"""What every connection to Postgres is held to: limits, one idea of when it is lost, and proof that writes work."""

from __future__ import annotations

import contextlib
import os

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from storage.connection import KEEPALIVES
from storage.database import create_database_engine, is_lost_connection, prove_writable
from tests.support.servers import own_postgres, standby_of
from tests.support.service import eventually


def test_every_limit_is_set_on_a_connection(shared_engine: Engine) -> None:
    with shared_engine.connect() as connection:
        for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            assert connection.execute(text(f"SHOW {limit}")).scalar_one() not in ("", "0")
        parameters = connection.connection.dbapi_connection.info.get_parameters()  # type: ignore[union-attr]
    for limit in ("connect_timeout", "tcp_user_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count"):
        assert int(parameters[limit]) > 0


def test_postgres_gives_up_a_connection_whose_host_has_vanished() -> None:
    # A connection of a Unix socket has no such settings. The address is one of the loopback interface, of this process.
    address = f"127.77.{os.getpid() // 256 % 256}.{os.getpid() % 256}"
    with own_postgres(settings={"listen_addresses": address}) as server:
        with (server.directory / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 127.0.0.0/8 trust\n")
        with server.connect("postgres") as administrator:
            administrator.execute("SELECT pg_reload_conf()")
        engine = create_database_engine(
            f"postgresql://postgres@{address}/postgres", application_name="tests", pool_size=1
        )
        eventually(lambda: is_reached(engine))
        with engine.connect() as connection:
            shown = {name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in KEEPALIVES}
        engine.dispose()
    assert shown == {
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "4",
        "tcp_user_timeout": "30000",
    }


def is_reached(engine: Engine) -> bool:
    try:
        engine.connect().close()
    except DBAPIError:
        return False
    return True


def test_work_one_after_the_other_uses_one_connection_whose_statements_are_prepared(engine: Engine) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(engine.connect())
    used = set()
    for _ in range(5):
        with engine.connect() as connection:
            used.add(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
    assert len(used) == 1


LOSSES = {
    "57P01": "SELECT pg_terminate_backend(pg_backend_pid())",
    "25P03": "SET LOCAL idle_in_transaction_session_timeout = 1",
    "25006": "SET LOCAL transaction_read_only = on; CREATE TABLE public.refused ()",
    "26000": "EXECUTE statement_of_another_server",
    "42P05": "PREPARE twice AS SELECT 1; PREPARE twice AS SELECT 1",
    "57P03": "DO $$ BEGIN RAISE SQLSTATE '57P03'; END $$",
    "08006": "DO $$ BEGIN RAISE SQLSTATE '08006'; END $$",
}

REFUSALS = {
    "22012": "SELECT 1 / 0",
    "23514": "DO $$ BEGIN RAISE SQLSTATE '23514'; END $$",
    "57014": "SET LOCAL statement_timeout = 1; SELECT pg_sleep(5)",
    "40P01": "DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$",
}


def provoke(engine: Engine, statement: str) -> tuple[int, DBAPIError]:
    """Run a statement that fails, at once or soon; returns the server's process and the error."""
    with engine.connect() as connection:
        process = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()

        def fail() -> None:
            connection.exec_driver_sql(statement)
            eventually(lambda: connection.exec_driver_sql("SELECT 1").scalar() is None)

        with pytest.raises(DBAPIError) as raised:
            fail()
    return process, raised.value


def provoked(engine: Engine, statement: str, state: str) -> tuple[int, DBAPIError] | None:
    process, error = provoke(engine, statement)
    return (process, error) if getattr(error.orig, "sqlstate", None) == state else None


def process_of(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


@pytest.mark.parametrize("state", LOSSES)
def test_a_lost_connection_is_not_used_again(engine: Engine, state: str) -> None:
    # A query that is sent in the moment in which the server ends is answered by nothing: tried again.
    process, error = eventually(lambda: provoked(engine, LOSSES[state], state))
    assert is_lost_connection(error)
    assert process_of(engine) != process


@pytest.mark.parametrize("state", REFUSALS)
def test_a_refused_statement_leaves_its_connection_in_use(engine: Engine, state: str) -> None:
    process, error = provoke(engine, REFUSALS[state])
    assert getattr(error.orig, "sqlstate", None) == state
    assert not is_lost_connection(error)
    assert process_of(engine) == process


def test_writes_are_proved_on_a_primary_and_disproved_on_a_standby() -> None:
    with own_postgres() as primary, standby_of(primary) as standby:
        url = f"postgresql://powerless@/postgres?host={primary.directory}"
        with primary.connect("postgres") as connection:
            connection.execute("CREATE ROLE powerless LOGIN")  # it needs no right of its own
        engine = create_database_engine(url, application_name="tests", pool_size=1)
        with engine.begin() as connection:
            prove_writable(connection)
        engine.dispose()
        engine = create_database_engine(standby.url, application_name="tests", pool_size=1)
        with pytest.raises(DBAPIError) as raised, engine.begin() as connection:
            prove_writable(connection)
        engine.dispose()
    assert is_lost_connection(raised.value)
    assert "standby" in str(raised.value)


def test_a_server_that_is_not_there_is_a_lost_connection() -> None:
    with pytest.raises(psycopg.OperationalError) as raised:
        psycopg.connect("host=/nowhere dbname=none")
    assert is_lost_connection(raised.value)
