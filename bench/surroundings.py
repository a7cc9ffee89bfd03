"""The servers of a run: a database and a Redis of its own, and the servers that are compared.

If ``DATABASE_URL`` and ``REDIS_URL`` are unset, embedded servers start with data in the run's
temporary folder. If they are set, the run uses those servers: a database that it makes and drops
afterwards, and an empty logical Redis database, which it empties afterwards.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bench.processes import BenchError, free_port, running, tail, wait_until_answers
from bench.signed import TENANT, TOKEN
from bench.subjects import TABLE
from bench.tenant_api import SHOWN_AT
from receiver.processes.embedded import embedded_servers
from receiver.processes.service import bring_up_to_date
from runtime.settings import Settings, load_settings
from storage.database_url import conninfo
from workers.broker import QUEUES

#: How often emptying tables is tried.
FORGET_ATTEMPTS = 5

#: The longest wait until the workers have started.
START_TIMEOUT_SECONDS = 60

_STARTED = "SELECT count(*) FROM ingest.process WHERE seen_at > %s AND name LIKE 'work%%' AND stopped_at IS NULL"

#: The logical Redis databases to try, beginning with the least likely to be in use.
REDIS_DATABASES = range(15, 0, -1)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The servers of a run and their addresses."""

    folder: Path
    database_url: str
    redis_url: str
    ports: dict[str, int]
    environment: dict[str, str]

    @property
    def log(self) -> Path:
        """The file with the output of all processes."""
        return self.folder / "bench.log"

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a connection in autocommit mode."""
        return psycopg.connect(conninfo(self.database_url), autocommit=True, application_name="bench")

    def forget(self) -> None:
        """Empty the log, the inserted rows and the queues, so that a measurement does not affect the next one."""
        with self.connect() as connection:
            # Workers that have just ended may still hold locks, in another order.
            for attempt in range(FORGET_ATTEMPTS):
                try:
                    connection.execute(
                        f"TRUNCATE ingest.notification, ingest.batch, ingest.outcome, ingest.refresh_request, {TABLE}"
                    )
                    break
                except psycopg.errors.DeadlockDetected:
                    if attempt == FORGET_ATTEMPTS - 1:
                        raise
            # Otherwise the next measurement would include writing out the pages that this one changed.
            connection.execute("CHECKPOINT")
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushdb()

    @contextlib.contextmanager
    def workers(self) -> Iterator[None]:
        """Run workers in the context, a process for each queue, as in ``up``; it begins when all have started."""
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(self.connect())
            began_at = connection.execute("SELECT clock_timestamp()").fetchone()
            for queue in QUEUES:
                arguments = ["receiver", "work", "--queue", queue]
                stack.enter_context(running(f"work {queue}", arguments, self.environment, self.log))
            deadline = time.monotonic() + START_TIMEOUT_SECONDS
            while (started := connection.execute(_STARTED, began_at).fetchone()) and started[0] < len(QUEUES):
                if time.monotonic() > deadline:
                    raise BenchError(f"The workers did not start within {START_TIMEOUT_SECONDS} s:\n{tail(self.log)}")
                time.sleep(0.1)
            yield

    @contextlib.contextmanager
    def deriving(self) -> Iterator[None]:
        """Derive everything without end in the context, in a process of its own."""
        with running("deriving", ["bench.deriving"], self.environment, self.log):
            yield


@contextlib.contextmanager
def surroundings(folder: Path, shown_at: str) -> Iterator[Surroundings]:
    """Start the servers that run all the time; ``shown_at`` is the time that the tenant's API shows.

    Raises:
        BenchError: a server of the run did not start, or a server of the user refused a database.
        SettingsError: a URL is wrong, or an embedded server did not start.
    """
    settings = load_settings().model_copy(update={"data_dir": folder})
    with contextlib.ExitStack() as stack:
        ready = stack.enter_context(embedded_servers(settings))
        database_url = stack.enter_context(_own_database(ready.required_database_url()))
        redis_url = stack.enter_context(_own_redis(ready.required_redis_url()))
        _make_tables(settings.model_copy(update={"database_url": database_url}))
        ports = {name: free_port() for name in ("baseline", "ours", "one-insert", "tenant")}
        tenants_file = folder / "tenants.toml"
        tenants_file.write_text(
            f'[tenants.{TENANT}]\nbase_url = "http://127.0.0.1:{ports["tenant"]}"\n'
            f'token = "{TOKEN}"\ncalls_per_minute = 6000\ncalls_per_day = 10000000\n'
        )
        environment = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "TENANTS_FILE": str(tenants_file),
            "RECEIVER_HOST": "127.0.0.1",
            "RECEIVER_LOG_FORMAT": "json",
            SHOWN_AT: shown_at,
        }
        made = Surroundings(folder, database_url, redis_url, ports, environment)
        commands = {
            "baseline": ["bench.subjects", "baseline"],
            "ours": ["receiver", "serve"],
            "one-insert": ["bench.subjects", "one-insert"],
            "tenant": ["bench.tenant_api", str(ports["tenant"])],
        }
        for name, command in commands.items():
            own = environment | {"RECEIVER_PORT": str(ports[name]), "RECEIVER_ADMIN_PORT": "0"}
            stack.enter_context(running(name, command, own, made.log))
        for name, port in ports.items():
            wait_until_answers(name, port, made.log)
        yield made


@contextlib.contextmanager
def database_alone(folder: Path) -> Iterator[str]:
    """Make a database with the tables and without any other server; yield its URL.

    Raises:
        BenchError, SettingsError: as :func:`surroundings`.
    """
    settings = load_settings().model_copy(update={"data_dir": folder})
    with embedded_servers(settings) as ready, _own_database(ready.required_database_url()) as url:
        _make_tables(settings.model_copy(update={"database_url": url}))
        yield url


@contextlib.contextmanager
def _own_database(url: str) -> Iterator[str]:
    name = f"ampeco_bench_{secrets.token_hex(4)}"
    try:
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        raise BenchError(f"DATABASE_URL: no database can be made for the run: {str(error).splitlines()[0]}.") from None
    try:
        yield make_conninfo(conninfo(url), dbname=name)
    finally:
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextlib.contextmanager
def _own_redis(url: str) -> Iterator[str]:
    for number in REDIS_DATABASES:
        own = _with_redis_database(url, number)
        with redis.Redis.from_url(own) as client:
            if not _is_empty(client):
                continue
            try:
                yield own
            finally:
                client.flushdb()
            return
    raise BenchError("REDIS_URL: none of the logical databases 1 to 15 is empty, and the run needs one of its own.")


def _is_empty(client: redis.Redis) -> bool:
    try:
        return client.dbsize() == 0
    except redis.ResponseError:
        return False  # a server with fewer databases


def _with_redis_database(url: str, number: int) -> str:
    address = url.partition("?")[0]
    if address.startswith("unix:"):
        return f"{address}?db={number}"
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{number}"


def _make_tables(settings: Settings) -> None:
    bring_up_to_date(settings)
    with psycopg.connect(conninfo(settings.required_database_url()), autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {TABLE} (LIKE ingest.notification INCLUDING ALL)")
