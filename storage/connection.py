"""Open connections to Postgres with the settings that we rely on, whatever the database or the role has set.

Between us and Postgres there may be a pooler that assigns each transaction to another one of its connections. A
setting of the session would then affect other clients, and not our next transaction. So behind a pooler the same
settings are applied to each transaction. The settings cost one round trip when a connection is opened and, behind
a pooler, one for each transaction of an engine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.abc import AdaptContext
from psycopg.conninfo import conninfo_attempts, conninfo_attempts_async, make_conninfo

#: A statement of ours that takes longer than this is stuck, not slow.
STATEMENT_TIMEOUT = timedelta(seconds=30)

#: A longer wait for a row means that the process that locks it hangs; giving up releases our own locks.
LOCK_TIMEOUT = timedelta(seconds=10)

#: A client that vanishes in the middle of a transaction keeps its locks no longer than this.
IDLE_TIMEOUT = timedelta(seconds=60)


def _milliseconds(duration: timedelta) -> str:
    return f"'{duration // timedelta(milliseconds=1)}'"


#: The settings that we rely on, each with the SQL of its value. ``client_encoding`` is a parameter of libpq instead.
SETTINGS: dict[str, str] = {
    # Times have one text form, in which they are read, compared and cast, and days and hours are those of UTC.
    "DateStyle": "'ISO, MDY'",
    "IntervalStyle": "'postgres'",
    "TimeZone": "'UTC'",
    # Bytes, numbers and arrays have one text form. With array_nulls off, NULL in an array would be the text "NULL".
    "bytea_output": "'hex'",
    "extra_float_digits": "'1'",
    "array_nulls": "'on'",
    "standard_conforming_strings": "'on'",
    # Our statements name tables with their schema; functions and types are Postgres's own.
    "search_path": "'public'",
    # Statements see all data that was committed before they began, raise no serialization errors, and may write.
    "default_transaction_isolation": "'read committed'",
    "default_transaction_read_only": "'off'",
    # Acknowledged data is on disk, and on the disks of the synchronous standbys, if there are any.
    "synchronous_commit": "CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply'"
    " ELSE 'on' END",
    "statement_timeout": _milliseconds(STATEMENT_TIMEOUT),
    "lock_timeout": _milliseconds(LOCK_TIMEOUT),
    "idle_in_transaction_session_timeout": _milliseconds(IDLE_TIMEOUT),
    # A connection may stay idle in its pool for any time.
    "idle_session_timeout": "'0'",
}

#: Postgres notices within 30 s that our host has vanished, and rolls our transaction back. Linux by itself needs more
#: than two hours, in which a lock that one of our processes holds would keep all others waiting. These are settings of
#: a connection, not of a transaction: behind a pooler, the pooler has its own.
KEEPALIVES: dict[str, str] = {
    "tcp_keepalives_idle": "'10'",
    "tcp_keepalives_interval": "'5'",
    "tcp_keepalives_count": "'4'",
    "tcp_user_timeout": "'30000'",
}

#: Postgres 17 and later have one more timeout, which is turned off: a migration or a rebuild may take any time.
_TRANSACTION_TIMEOUT = (
    "CASE WHEN current_setting('transaction_timeout', true) IS NOT NULL"
    " THEN set_config('transaction_timeout', '0', {local}) END"
)


class StandbyError(psycopg.OperationalError):
    """The server is a standby: it accepts no writes, and its data may be old."""


def _assignments(local: str, settings: Mapping[str, str]) -> str:
    made = [f"set_config('{name}', {value}, {local})" for name, value in (SETTINGS | dict(settings)).items()]
    return ", ".join([*made, _TRANSACTION_TIMEOUT.format(local=local)])


def settings_of_transaction(settings: Mapping[str, str] | None = None) -> str:
    """Return the statement that applies the settings until the end of a transaction.

    Parameters:
        settings: SQL of further values, which replace those of ``SETTINGS``.
    """
    return f"SELECT {_assignments('true', settings or {})}"


def behind_pooler(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    """Return whether a pooler stands between an opened connection and Postgres."""
    return connection.prepare_threshold is None


def open_connection(
    arguments: Mapping[str, str], settings: Mapping[str, str] | None = None, *, context: AdaptContext | None = None
) -> Connection[Any]:
    """Open a connection to the first server that accepts writes.

    Parameters:
        arguments: parameters of libpq; several hosts, and all addresses of each, are tried in order.
        settings: SQL of further values, which replace those of ``SETTINGS``.
        context: how psycopg adapts values.

    Returns:
        A connection in autocommit.

    Raises:
        psycopg.Error: no server can be reached, or none accepts writes; the error is that of the last attempt.
    """
    failure: psycopg.Error | None = None
    for attempt in conninfo_attempts(arguments):
        try:
            connection = psycopg.connect(make_conninfo("", **attempt), autocommit=True, context=context)
        except psycopg.Error as error:
            failure = error
            continue
        try:
            _check_server(connection, connection.execute(_opening(connection, settings)).fetchone())
        except psycopg.Error as error:
            connection.close()
            failure = error
        else:
            return connection
    assert failure is not None
    raise failure


async def open_async_connection(
    arguments: Mapping[str, str], settings: Mapping[str, str] | None = None
) -> AsyncConnection[Any]:
    """Open a connection as :func:`open_connection` does, without blocking the event loop."""
    failure: psycopg.Error | None = None
    for attempt in await conninfo_attempts_async(arguments):
        try:
            connection = await AsyncConnection.connect(make_conninfo("", **attempt), autocommit=True)
        except psycopg.Error as error:
            failure = error
            continue
        try:
            _check_server(connection, await (await connection.execute(_opening(connection, settings))).fetchone())
        except psycopg.Error as error:
            await connection.close()
            failure = error
        else:
            return connection
    assert failure is not None
    raise failure


def _opening(connection: Connection[Any] | AsyncConnection[Any], settings: Mapping[str, str] | None) -> bytes:
    # A pooler announces a backend pid of its own instead of that of a Postgres process, so the pids differ behind one.
    # The settings are then local to this statement's transaction, so that they do not affect other clients.
    local = f"pg_backend_pid() <> {connection.info.backend_pid}"
    assignments = _assignments(local, KEEPALIVES | dict(settings or {}))
    return f"SELECT pg_is_in_recovery(), {local}, {assignments}".encode()


def _check_server(connection: Connection[Any] | AsyncConnection[Any], row: tuple[Any, ...] | None) -> None:
    """Refuse a standby, and prepare no statements behind a pooler, by the answer to the opening statement."""
    assert row is not None
    is_standby, is_pooled, *_ = row
    if is_standby:
        raise StandbyError("the server is a standby, which takes no writes")
    if is_pooled:
        connection.prepare_threshold = None


@asynccontextmanager
async def one_transaction(
    connection: AsyncConnection[Any], settings: Mapping[str, str], *, statements: int = 1
) -> AsyncIterator[None]:
    """Run the block's statements in one transaction with our settings, in one round trip.

    Parameters:
        connection: a connection in autocommit that :func:`open_async_connection` opened with the same settings.
        settings: SQL of further values, which replace those of ``SETTINGS``.
        statements: how many statements the block runs. One alone needs no BEGIN and COMMIT, except behind a pooler.
    """
    is_pooled = behind_pooler(connection)
    if statements == 1 and not is_pooled:
        yield
        return
    try:
        async with connection.pipeline():
            await connection.execute(b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            if is_pooled:
                await connection.execute(settings_of_transaction(settings).encode())
            yield
            await connection.execute(b"COMMIT")
    except BaseException:
        await connection.close()  # otherwise it would stay in the failed transaction
        raise
