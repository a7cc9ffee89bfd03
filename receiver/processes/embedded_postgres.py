"""The server process of the embedded PostgreSQL, from the programs of a package.

The package can start the server, too, but it uses a shell that fails at a space in a path, and one lock file for every
user of the machine; as root it first creates a user and makes every folder above readable.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import psycopg

from runtime.settings import SettingsError

#: Making the data directory takes some seconds, as does recovery after a crash; a busy machine needs more time.
START_TIMEOUT_SECONDS = 60.0

#: The user that runs the server if we are root, because PostgreSQL refuses to run as root.
UNPRIVILEGED = "nobody"

#: Characters with a special meaning for a shell between double quotes, where initdb puts the path of its programs.
_SHELL_CHARACTERS = frozenset('$`"\\')

#: The name of the socket in its directory.
SOCKET = ".s.PGSQL.5432"


class PostgresServer:
    """A PostgreSQL that listens on a Unix socket only, and trusts every user who may enter the socket's folder.

    Parameters:
        programs: the folder of ``postgres`` and ``initdb``.
        data: the data directory; it is made if it is missing.
        socket_directory: makes a folder for the socket, for the user with an id or, for None, for our user.
    """

    def __init__(self, programs: Path, data: Path, socket_directory: Callable[[int | None], Path]) -> None:
        self._programs = programs
        self._data = data
        self._log = data.with_name("postgres.log")
        self._owner = _other_user(data) if os.geteuid() == 0 else None
        self._sockets = socket_directory(self._owner.pw_uid if self._owner else None)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"postgresql://postgres@/postgres?host={quote(str(self._sockets))}"

    def ensure_running(self) -> None:
        """Start the server, unless it is running already.

        Raises:
            SettingsError: the server did not start; the message says why.
        """
        if self._answers():
            return
        if self._owner is not None:
            for path in (self._data, self._programs):
                _allow_passing(path)
            _allow_reading(self._programs.parent)
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        arguments = ["-D", str(self._data), "-k", str(self._sockets), "-c", "listen_addresses="]
        self._process = self._popen("postgres", arguments)
        try:
            deadline = time.monotonic() + START_TIMEOUT_SECONDS
            while not self._answers():
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise self._failed()
                time.sleep(0.05)
        except BaseException:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)  # a fast shutdown
                self._process.wait()
            raise

    def stop(self) -> None:
        """Stop the server, even if another process started it."""
        stopped = self._popen("pg_ctl", ["-D", str(self._data), "-m", "fast", "-w", "stop"]).wait()
        if stopped == 0 and self._process is not None:
            self._process.wait()

    def _initialise(self) -> None:
        if special := sorted(_SHELL_CHARACTERS & {*str(self._programs)}):
            raise SettingsError(
                f"DATABASE_URL is not set, and the embedded PostgreSQL cannot start from {self._programs}: its initdb"
                f" calls a shell, for which the {special[0]} in that path has a special meaning; move the project, or"
                " name a database in DATABASE_URL."
            )
        # Renamed when it is complete, so that after a kill in between it is made again.
        new = self._data.with_name("data.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if self._owner is not None:
            os.chown(new, self._owner.pw_uid, self._owner.pw_gid)
        arguments = ["-D", str(new), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        # PostgreSQL's built-in locale, because the machine may have any locale, or none.
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self._popen("initdb", arguments).wait() != 0:
            raise self._failed()
        new.rename(self._data)

    def _popen(self, program: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        owner = self._owner
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own command
                [str(self._programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._data.parent,
                env=os.environ | {"LC_ALL": "C"},
                user=None if owner is None else owner.pw_uid,
                group=None if owner is None else owner.pw_gid,
                extra_groups=None if owner is None else [],
                # A session of its own, because Ctrl-C on the terminal must not reach the server, which is stopped last.
                start_new_session=True,
            )

    def _answers(self) -> bool:
        try:
            psycopg.connect(
                host=str(self._sockets), port=5432, user="postgres", dbname="postgres", connect_timeout=5
            ).close()
        except psycopg.Error:
            return False
        return True

    def _failed(self) -> SettingsError:
        reasons = re.findall(r"(?:FATAL|error): +(.+)", self._log.read_text(errors="replace"))
        reason = reasons[-1] if reasons else f"it does not answer after {START_TIMEOUT_SECONDS:g} s"
        return SettingsError(
            f"DATABASE_URL is not set, and the embedded PostgreSQL under {self._data.parent} did not start: {reason};"
            f" its log is {self._log}."
        )


def _other_user(data: Path) -> pwd.struct_passwd:
    """Return the user that runs the server if we are root: the owner of the data, else ``UNPRIVILEGED``."""
    if data.exists() and (uid := data.stat().st_uid) != 0:
        return pwd.getpwuid(uid)
    return pwd.getpwnam(UNPRIVILEGED)


def _allow_passing(path: Path) -> None:
    """Let other users pass through the folders above a path, but not list their content."""
    for folder in path.resolve().parents:
        if not (mode := folder.stat().st_mode) & 0o001:
            folder.chmod(mode | 0o001)


def _allow_reading(tree: Path) -> None:
    """Let other users read and run programs that only root may read, after an installation with a strict umask."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o005 if mode & 0o100 else 0o004))
