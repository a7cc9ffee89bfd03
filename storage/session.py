"""Connections to Postgres, with the settings that we rely on: whatever the database or the role has set.

Between us and Postgres there may be a pooler that hands each transaction to another connection of its own. What is
set there for a session is seen by others, and not by our next transaction; so the same settings are then made in
each transaction. In both cases they cost no round trip of their own but when a connection is opened, and one for
each transaction of an engine behind a pooler.
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

#: A statement of ours that runs this long is stuck, not slow.
STATEMENT_TIMEOUT = timedelta(seconds=30)

#: Waiting longer for a row means that its holder hangs; giving up frees our own locks.
LOCK_TIMEOUT = timedelta(seconds=10)

#: A client that vanished in mid-transaction keeps its locks no longer than this.
IDLE_TIMEOUT = timedelta(seconds=60)


def _milliseconds(duration: timedelta) -> str:
    return f"'{duration // timedelta(milliseconds=1)}'"


#: What we rely on, each with the SQL of its value. ``client_encoding`` is sent when a connection is opened.
SETTINGS: dict[str, str] = {
    # Times are read, compared and cast as text in one form, and days and hours are those of UTC.
    "DateStyle": "'ISO, MDY'",
    "IntervalStyle": "'postgres'",
    "TimeZone": "'UTC'",
    # Bytes, numbers and arrays are read and sent as text in one form. Off, a NULL in an array is the word NULL.
    "bytea_output": "'hex'",
    "extra_float_digits": "'1'",
    "array_nulls": "'on'",
    "standard_conforming_strings": "'on'",
    # Every table of ours is named with its schema; functions and types are Postgres's own.
    "search_path": "'public'",
    # Statements see what was committed before they began, and are not ended by those of others; they write.
    "default_transaction_isolation": "'read committed'",
    "default_transaction_read_only": "'off'",
    # What is acknowledged is on the disk, and on that of the synchronous standbys where there are some.
    "synchronous_commit": "CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply'"
    " ELSE 'on' END",
    "statement_timeout": _milliseconds(STATEMENT_TIMEOUT),
    "lock_timeout": _milliseconds(LOCK_TIMEOUT),
    "idle_in_transaction_session_timeout": _milliseconds(IDLE_TIMEOUT),
    # A connection waits in its pool for as long as it likes.
    "idle_session_timeout": "'0'",
}

#: Postgres 17 has one more limit; a migration or a rebuild takes longer than any.
_TRANSACTION_TIMEOUT = (
    "CASE WHEN current_setting('transaction_timeout', true) IS NOT NULL"
    " THEN set_config('transaction_timeout', '0', {local}) END"
)


class StandbyError(psycopg.OperationalError):
    """The server takes no writes, and answers from a state that may be old."""


def _assignments(local: str, settings: Mapping[str, str]) -> str:
    made = [f"set_config('{name}', {value}, {local})" for name, value in (SETTINGS | dict(settings)).items()]
    return ", ".join([*made, _TRANSACTION_TIMEOUT.format(local=local)])


def settings_of_transaction(settings: Mapping[str, str] | None = None) -> str:
    """Return the statement that makes the settings for the rest of a transaction."""
    return f"SELECT {_assignments('true', settings or {})}"


def behind_pooler(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    """Return whether a pooler stands between an opened connection and Postgres."""
    return connection.prepare_threshold is None


def open_connection(
    arguments: Mapping[str, str], settings: Mapping[str, str] | None = None, *, context: AdaptContext | None = None
) -> Connection[Any]:
    """Open a connection to the first server that takes writes.

    Parameters:
        arguments: of libpq; several hosts, and all addresses of each, are tried in their order.
        settings: SQL of further values, in place of those of ``SETTINGS``.
        context: how values are adapted.

    Returns:
        a connection in autocommit.

    Raises:
        psycopg.Error: no server can be reached, or none takes writes; of the last that was tried.
    """
    failure: psycopg.Error | None = None
    for attempt in conninfo_attempts(arguments):
        try:
            connection = psycopg.connect(make_conninfo("", **attempt), autocommit=True, context=context)
        except psycopg.Error as error:
            failure = error
            continue
        try:
            _settle(connection, connection.execute(_opening(connection, settings)).fetchone())
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
    """Open a connection as :func:`open_connection` does, without holding up the event loop."""
    failure: psycopg.Error | None = None
    for attempt in await conninfo_attempts_async(arguments):
        try:
            connection = await AsyncConnection.connect(make_conninfo("", **attempt), autocommit=True)
        except psycopg.Error as error:
            failure = error
            continue
        try:
            _settle(connection, await (await connection.execute(_opening(connection, settings))).fetchone())
        except psycopg.Error as error:
            await connection.close()
            failure = error
        else:
            return connection
    assert failure is not None
    raise failure


def _opening(connection: Connection[Any] | AsyncConnection[Any], settings: Mapping[str, str] | None) -> bytes:
    # A pooler answers for no process of Postgres, so it names one of its own; what is set behind it ends at once.
    local = f"pg_backend_pid() <> {connection.info.backend_pid}"
    return f"SELECT pg_is_in_recovery(), {local}, {_assignments(local, settings or {})}".encode()


def _settle(connection: Connection[Any] | AsyncConnection[Any], found: tuple[Any, ...] | None) -> None:
    assert found is not None
    is_standby, is_pooled, *_ = found
    if is_standby:
        raise StandbyError("the server is a standby, which takes no writes")
    if is_pooled:
        connection.prepare_threshold = None


@asynccontextmanager
async def one_transaction(connection: AsyncConnection[Any], settings: Mapping[str, str]) -> AsyncIterator[None]:
    """Make one statement a transaction with our settings, in one round trip.

    Parameters:
        connection: in autocommit, as :func:`open_async_connection` opened it with the same settings.
    """
    if not behind_pooler(connection):
        yield
        return
    try:
        async with connection.pipeline():
            await connection.execute(b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            await connection.execute(settings_of_transaction(settings).encode())
            yield
            await connection.execute(b"COMMIT")
    except BaseException:
        await connection.close()  # else it would stay in the transaction that failed
        raise
