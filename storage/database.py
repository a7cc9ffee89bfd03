"""Connections to Postgres: one engine a process, made after any fork."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DBAPIError

#: A statement of ours that runs this long is stuck, not slow.
STATEMENT_TIMEOUT = timedelta(seconds=30)

#: Waiting longer for a row means that its holder hangs; giving up frees our own locks.
LOCK_TIMEOUT = timedelta(seconds=10)

#: A server that does not answer a connection attempt in this time counts as unreachable.
CONNECT_TIMEOUT = timedelta(seconds=5)

#: A network that swallows packets, as at a failover, is noticed within this time; the server's own
#: timeouts cannot reach us then.
NETWORK_TIMEOUT = timedelta(seconds=30)

#: SQLSTATEs after which a connection is of no more use, though the server may have left it open.
_LOST_STATES = frozenset(
    {
        "25006",  # read_only_sql_transaction: the server became a standby, or the address leads to one
        "0A000",  # feature_not_supported: so a standby answers BEGIN READ WRITE, and a migration a prepared statement
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "57P05",  # idle_session_timeout
        "25P03",  # idle_in_transaction_session_timeout
        "26000",  # invalid_sql_statement_name: a pooler handed us another server's connection
        "42P05",  # duplicate_prepared_statement: the same
    }
)

#: SQLSTATE class of connection exceptions.
_LOST_CLASS = "08"

_SESSION_OPTIONS = (
    f"-c statement_timeout={STATEMENT_TIMEOUT // timedelta(milliseconds=1)}"
    f" -c lock_timeout={LOCK_TIMEOUT // timedelta(milliseconds=1)}"
    # A client that vanished in mid-transaction keeps its locks no longer than this.
    " -c idle_in_transaction_session_timeout=60000"
    " -c timezone=UTC"
)


def sqlalchemy_url(database_url: str) -> URL:
    """The URL with psycopg 3 as its driver, whichever way the operator wrote it."""
    return make_url(database_url).set(drivername="postgresql+psycopg")


def connection_arguments(application_name: str) -> dict[str, str]:
    """libpq parameters that every connection of ours is opened with."""
    return {
        "application_name": application_name,
        "connect_timeout": str(int(CONNECT_TIMEOUT.total_seconds())),
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "4",
        "tcp_user_timeout": str(NETWORK_TIMEOUT // timedelta(milliseconds=1)),
        "options": _SESSION_OPTIONS,
    }


def shown_url(database_url: str) -> str:
    """The URL as it may be shown: a password in it is not."""
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=True)


def conninfo(database_url: str) -> str:
    """The URL as libpq takes it, for connections that go past SQLAlchemy."""
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)


def is_lost_connection(error: BaseException) -> bool:
    """Return whether the connection that raised this must not be used again.

    Parameters:
        error: of psycopg or of SQLAlchemy.
    """
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or (error.orig is not None and is_lost_connection(error.orig))
    if isinstance(error, OSError):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is not None:
        return error.sqlstate in _LOST_STATES or error.sqlstate.startswith(_LOST_CLASS)
    # What libpq raises by itself has no SQLSTATE: the network failed, or the server ended without a word.
    return isinstance(error, psycopg.OperationalError)


def server_message(error: BaseException) -> str:
    """Return the first line of what the server or the network said, which holds no secret and no row."""
    cause = (error.orig or error) if isinstance(error, DBAPIError) else error
    said = (cause.diag.message_primary if isinstance(cause, psycopg.Error) else None) or str(cause)
    return said.strip().partition("\n")[0] or type(cause).__name__


# Nobody reads the message; committing it needs a transaction id, the WAL on the disk, and the synchronous standbys.
_PROVE_WRITABLE = text("SELECT pg_logical_emit_message(true, 'ampeco-receiver', 'writable')")


def prove_writable(connection: Connection) -> None:
    """Write a record to the WAL and to no table; the caller's commit then proves that Postgres takes writes.

    Raises:
        sqlalchemy.exc.DBAPIError: the server is a standby, or fails.
    """
    connection.execute(_PROVE_WRITABLE)


def create_database_engine(
    database_url: str, *, application_name: str, pool_size: int, network_timeout: timedelta = NETWORK_TIMEOUT
) -> Engine:
    """Make the engine of this process.

    Parameters:
        database_url: ``postgresql://…``.
        application_name: how the connections are named in ``pg_stat_activity``.
        pool_size: the most connections that this process opens.
        network_timeout: how long a network may swallow packets before a connection counts as lost.
    """
    arguments = connection_arguments(application_name)
    arguments["tcp_user_timeout"] = str(network_timeout // timedelta(milliseconds=1))
    engine = create_engine(
        sqlalchemy_url(database_url),
        connect_args=arguments,
        # Parameters carry what tenants sent; an error text with them would end in a log.
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        # Postgres may have restarted since a pooled connection was last used.
        pool_pre_ping=True,
    )
    event.listen(engine, "connect", _begin_read_write)
    event.listen(engine, "handle_error", _drop_lost_connection)
    return engine


def _begin_read_write(connection: psycopg.Connection[Any], _record: object) -> None:
    """Let every transaction begin with READ WRITE, which a standby refuses before anything is read from it."""
    connection.read_only = False


def _drop_lost_connection(context: ExceptionContext) -> None:
    """Take a lost connection out of the pool, with those that were made before it: they lead to the same server."""
    if context.connection is not None and is_lost_connection(context.original_exception):
        context.is_disconnect = True
