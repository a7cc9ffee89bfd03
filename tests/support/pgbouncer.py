"""Debian's PgBouncer in front of a test's Postgres."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg

from tests.support.directories import short_directory
from tests.support.requirements import needs
from tests.support.servers import DATABASE, PostgresServer, Server
from tests.support.service import eventually

PoolMode = Literal["session", "transaction"]

#: Only a part of the Unix socket's name; nothing listens on this port.
PORT = 6432

SETTINGS = """
[databases]
* = host={postgres} user=postgres

[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {directory}
pool_mode = {mode}
auth_type = any
max_client_conn = 200
default_pool_size = 20
ignore_startup_parameters = {ignored}
admin_users = postgres
"""


@dataclass
class PgBouncer(Server):
    """A pooler on a Unix socket.

    Attributes:
        ignored: startup parameters that it ignores, as an operator lists them; without ``options`` in the
            list it refuses a client that sends this parameter.
    """

    postgres: PostgresServer | None = None
    mode: PoolMode = "transaction"
    ignored: str = "extra_float_digits,options"

    @property
    def url(self) -> str:
        """The URL of the database through the pooler."""
        return f"postgresql://postgres@/{DATABASE}?host={self.directory}&port={PORT}"

    @property
    def log(self) -> str:
        """The output of the process."""
        return (self.directory / "log").read_text()

    def start(self) -> None:
        """Start the process, and wait until it answers."""
        assert self.postgres is not None
        settings = self.directory / "pgbouncer.ini"
        settings.write_text(
            SETTINGS.format(
                postgres=self.postgres.directory,
                port=PORT,
                directory=self.directory,
                mode=self.mode,
                ignored=self.ignored,
            )
        )
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [executable(), str(settings)],
                stdout=log,
                stderr=log,
                cwd=self.directory,
                # PgBouncer refuses to run as root.
                user="nobody" if os.geteuid() == 0 else None,
                extra_groups=[] if os.geteuid() == 0 else None,
            )
        eventually(self._answers, seconds=30)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True


def executable() -> str:
    """Return the program's path; skip the test if it is not installed, but never in CI."""
    path = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    return needs(path, "pgbouncer")


@contextlib.contextmanager
def own_pgbouncer(postgres: PostgresServer, mode: PoolMode, **options: Any) -> Iterator[PgBouncer]:
    """Run a pooler in the context."""
    executable()
    with short_directory() as directory:
        pooler = PgBouncer(Path(directory), postgres=postgres, mode=mode, **options)
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.kill()
