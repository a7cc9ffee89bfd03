"""Connections to Postgres: one engine a process, made after any fork."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.engine import URL

from storage.clock import clock

#: A statement of ours that runs this long is stuck, not slow.
STATEMENT_TIMEOUT = timedelta(seconds=30)

#: Waiting longer for a row means that its holder hangs; giving up frees our own locks.
LOCK_TIMEOUT = timedelta(seconds=10)

#: A server that does not answer a connection attempt in this time counts as unreachable.
CONNECT_TIMEOUT = timedelta(seconds=5)

#: A network that swallows packets, as at a failover, is noticed within this time; the server's own
#: timeouts cannot reach us then.
NETWORK_TIMEOUT = timedelta(seconds=30)

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


def create_database_engine(database_url: str, *, application_name: str, pool_size: int) -> Engine:
    """Make the engine of this process.

    Parameters:
        database_url: ``postgresql://…``.
        application_name: how the connections are named in ``pg_stat_activity``.
        pool_size: the most connections that this process opens.
    """
    engine = create_engine(
        sqlalchemy_url(database_url),
        connect_args=connection_arguments(application_name),
        # Parameters carry what tenants sent; an error text with them would end in a log.
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        # Postgres may have restarted since a pooled connection was last used.
        pool_pre_ping=True,
    )
    event.listen(engine, "connect", clock.measure_new)
    return engine
