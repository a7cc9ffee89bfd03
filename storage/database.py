"""Connect to Postgres through one engine per process, made after any fork."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.exc import DBAPIError

from storage.clock import clock
from storage.connection import behind_pooler, open_connection, settings_of_transaction
from storage.database_url import parse_database_url

#: A server that does not answer a connection attempt within this time counts as unreachable.
CONNECT_TIMEOUT = timedelta(seconds=5)

#: A connection whose packets are lost, as in a failover, fails after this time; the server's own
#: timeouts cannot reach us then.
NETWORK_TIMEOUT = timedelta(seconds=30)

#: Defaults that an operator may override in the URL.
_LIMITS = {
    "connect_timeout": str(int(CONNECT_TIMEOUT.total_seconds())),
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": str(NETWORK_TIMEOUT // timedelta(milliseconds=1)),
}

#: SQLSTATEs after which a connection must not be used again, although the server may have left it open.
_LOST_STATES = frozenset(
    {
        "25006",  # read_only_sql_transaction: the server became a standby, or the address leads to one
        "0A000",  # feature_not_supported: a standby refuses BEGIN READ WRITE, or a migration broke a prepared statement
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "57P05",  # idle_session_timeout
        "25P03",  # idle_in_transaction_session_timeout
        "26000",  # invalid_sql_statement_name: a pooler gave us the connection of another server
        "42P05",  # duplicate_prepared_statement: the same
    }
)

#: SQLSTATE class of connection exceptions.
_LOST_CLASS = "08"


def connection_arguments(database_url: str, application_name: str) -> dict[str, str]:
    """Return the libpq parameters with which every connection of ours is opened.

    Parameters in the URL, such as ``options``, override our defaults, except for those that we rely on.

    Parameters:
        database_url: ``postgresql://…`` or a connection string of libpq.
        application_name: the name of the connections in ``pg_stat_activity``.

    Raises:
        DatabaseUrlError: the URL cannot be read.
    """
    return (
        _LIMITS
        | parse_database_url(database_url)
        | {
            "application_name": application_name,
            "client_encoding": "UTF8",
            # We check the opened connection ourselves: a pooler repeats the answer of a server that has been replaced.
            "target_session_attrs": "any",
        }
    )


class DatabaseEncodingError(Exception):
    """The database cannot hold every text that AMPECO may send; the message is one sentence for the operator."""


def require_utf8(connection: Connection) -> None:
    """Check that the encoding of the database is UTF8.

    Raises:
        DatabaseEncodingError: the encoding is another one.
    """
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise DatabaseEncodingError(
            f"DATABASE_URL: the encoding of the database is {encoding}, which cannot hold every name that AMPECO sends;"
            " make another with `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`, and migrate that."
        )


# reset_val is the value that the server, the database or the role sets, without the settings of our session.
_DURABILITY = text("""
SELECT name, reset_val
  FROM pg_settings
 WHERE (name IN ('fsync', 'full_page_writes') AND reset_val = 'off')
    OR (name = 'synchronous_commit' AND reset_val IN ('off', 'local', 'remote_write'))
""")


def weak_durability(connection: Connection) -> dict[str, str]:
    """Return the settings under which a commit may be lost in a crash or a failover, with their values."""
    return {row.name: row.reset_val for row in connection.execute(_DURABILITY)}


def database_bytes(connection: Connection) -> int:
    """Return the size of the database on disk, in bytes."""
    return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def is_lost_connection(error: BaseException) -> bool:
    """Return whether the connection that raised an error must not be used again.

    Parameters:
        error: an exception of psycopg, of SQLAlchemy or of the operating system.
    """
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or (error.orig is not None and is_lost_connection(error.orig))
    if isinstance(error, OSError):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is not None:
        return error.sqlstate in _LOST_STATES or error.sqlstate.startswith(_LOST_CLASS)
    # An error of libpq itself has no SQLSTATE: the network failed, or the server ended without an answer.
    return isinstance(error, psycopg.OperationalError)


def wait_in_transaction(connection: Connection) -> None:
    """Turn off the idle timeout of a transaction that holds an advisory lock, and no rows, while its process lives."""
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


# No program reads the message. Its commit needs a transaction id, the WAL on disk and the synchronous standbys.
_PROVE_WRITABLE = text("SELECT pg_logical_emit_message(true, 'ampeco-receiver', 'writable')")


def prove_writable(connection: Connection) -> None:
    """Write a record to the WAL and to no table, so that the caller's commit proves that Postgres accepts writes.

    Raises:
        sqlalchemy.exc.DBAPIError: the server is a standby or fails.
    """
    connection.execute(_PROVE_WRITABLE)


def create_database_engine(
    database_url: str, *, application_name: str, pool_size: int, network_timeout: timedelta = NETWORK_TIMEOUT
) -> Engine:
    """Make the engine of this process.

    Parameters:
        database_url: ``postgresql://…``.
        application_name: the name of the connections in ``pg_stat_activity``.
        pool_size: the most connections that this process opens.
        network_timeout: how long packets may be lost before a connection fails.

    Raises:
        DatabaseUrlError: the URL cannot be read.
    """
    arguments = connection_arguments(database_url, application_name)
    arguments["tcp_user_timeout"] = str(network_timeout // timedelta(milliseconds=1))
    engine = create_engine(
        "postgresql+psycopg://",
        isolation_level="READ COMMITTED",
        # Parameters contain data of tenants; an error text with them would end up in a log.
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        # Postgres may have restarted since a pooled connection was last used.
        pool_pre_ping=True,
        # The connection that was used last knows the tables, and has our statements prepared.
        pool_use_lifo=True,
        # No column has the type hstore, and looking the type up costs a statement.
        use_native_hstore=False,
    )

    def connect(
        _dialect: Dialect, _record: object, _arguments: object, parameters: dict[str, Any]
    ) -> psycopg.Connection[Any]:
        connection = open_connection(arguments, context=parameters["context"])
        # Every transaction begins with READ WRITE, which a standby refuses before we read anything from it.
        connection.read_only = False
        return connection

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", clock.measure_new)
    event.listen(engine, "begin", _apply_settings)
    event.listen(engine, "handle_error", _drop_lost_connection)
    return engine


def create_reading_engine(
    database_url: str, *, application_name: str, pool_size: int, statement_timeout: timedelta
) -> Engine:
    """Make an engine whose transactions cannot write, and whose statements are cancelled after a time.

    Parameters:
        statement_timeout: how long one statement may take.

    Raises:
        DatabaseUrlError: the URL cannot be read.
    """
    engine = create_database_engine(database_url, application_name=application_name, pool_size=pool_size)
    milliseconds = statement_timeout // timedelta(milliseconds=1)
    limits = (
        "SELECT set_config('transaction_read_only', 'on', true),"
        f" set_config('statement_timeout', '{milliseconds}', true)"
    )

    # For each transaction, because a pooler may assign it to any of its connections.
    @event.listens_for(engine, "begin")
    def limit(connection: Connection) -> None:
        connection.exec_driver_sql(limits)

    return engine


#: How long a statement may take that reads whole tables.
WHOLE_TABLES = timedelta(hours=1)


def set_statement_timeout(connection: Connection, timeout: timedelta) -> None:
    """Let each further statement of this transaction take up to ``timeout``."""
    connection.execute(text(f"SET LOCAL statement_timeout = {timeout // timedelta(milliseconds=1)}"))


def _apply_settings(connection: Connection) -> None:
    """Apply our settings to a transaction that a pooler may have assigned to any of its connections."""
    opened = connection.connection.driver_connection
    assert opened is not None
    if behind_pooler(opened):
        connection.exec_driver_sql(settings_of_transaction())


def _drop_lost_connection(context: ExceptionContext) -> None:
    """Remove a lost connection and all older ones from the pool, because they lead to the same server."""
    if context.connection is not None and is_lost_connection(context.original_exception):
        context.is_disconnect = True
