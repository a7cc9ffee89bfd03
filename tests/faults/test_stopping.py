"""Every command ends on SIGTERM, also as the first process of a container, and gives back what it holds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.support.log import query
from tests.support.servers import descendants
from tests.support.service import eventually, write_tenants

#: Makes what it runs the first process of a namespace of its own, as a container does. It needs no rights: who is not
#: root takes a user namespace too, in which root could not reach what others own.
FIRST_PROCESS = (
    *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *(() if os.geteuid() == 0 else ("--user", "--map-root-user")),
)

SAID = "ampeco-receiver: stopped by SIGTERM before it was done.\n"


@pytest.fixture(scope="module", autouse=True)
def _namespaces() -> None:
    try:
        subprocess.run([*FIRST_PROCESS, "true"], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no process can be the first of a namespace here, as it needs user namespaces: {error}")


class Command:
    """A command of ours as the first process of its namespace."""

    def __init__(self, directory: Path, arguments: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [*FIRST_PROCESS, sys.executable, "-m", "receiver", *arguments],
            cwd=directory,
            env=os.environ | {"RECEIVER_LOG_LEVEL": "error", "COLUMNS": "200"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> tuple[int, str]:
        """As a container engine does: SIGTERM to the first process; returns its exit code and what it said."""
        _unshare, first, *_ = descendants(self._process.pid)
        os.kill(first, signal.SIGTERM)
        _, said = self._process.communicate(timeout=60)
        return self._process.returncode, said

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def start(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def run(*arguments: str, **environment: str) -> Command:
        started.append(Command(tmp_path, list(arguments), servers | environment))
        return started[-1]

    write_tenants(tmp_path)
    servers = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "RECEIVER_PUBLIC_URL": "https://receiver"}
    yield run
    for command in started:
        command.kill()


WAITING = """
SELECT 1
  FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name LIKE 'ampeco-receiver%'
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["migrate"],
        ["backfill"],
        ["reconcile"],
        pytest.param(["up"], marks=pytest.mark.long),
        pytest.param(["serve"], marks=pytest.mark.long),
        pytest.param(["work"], marks=pytest.mark.long),
        pytest.param(["completeness"], marks=pytest.mark.long),
        pytest.param(["subscribe"], marks=pytest.mark.long),
        pytest.param(["unsubscribe"], marks=pytest.mark.long),
        pytest.param(["resend"], marks=pytest.mark.long),
        pytest.param(["replay", "--failed"], marks=pytest.mark.long),
        pytest.param(["rebuild", "--tenant", "demo"], marks=pytest.mark.long),
        pytest.param(["erase", "--tenant", "demo", "--user", "1"], marks=pytest.mark.long),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_that_is_the_first_process_ends_on_sigterm(
    start: Callable[..., Command], engine: Engine, arguments: list[str]
) -> None:
    # Given a command that waits in the middle of a statement
    with engine.begin() as blocking:
        blocking.execute(text("LOCK ingest.alembic_version IN ACCESS EXCLUSIVE MODE"))
        command = start(*arguments)
        eventually(lambda: query(engine, WAITING), seconds=60)
        # When it is asked to stop, then it says so and ends
        assert command.stop() == (128 + signal.SIGTERM, SAID)
        # And Postgres no longer works for it
        eventually(lambda: not query(engine, WAITING))


def test_a_backfill_that_is_stopped_leaves_what_it_synced_to_the_next(
    start: Callable[..., Command], engine: Engine, tmp_path: Path
) -> None:
    # Given a backfill that waits for an answer of the tenant
    with socket.create_server(("127.0.0.1", 0)) as tenant:
        tenant.settimeout(60)
        write_tenants(tmp_path, api_url=f"http://127.0.0.1:{tenant.getsockname()[1]}")
        command = start("backfill", "--tenant", "demo", RECEIVER_API_TIMEOUT="60")
        with tenant.accept()[0]:
            assert query(engine, "SELECT 1 FROM ingest.sync_run WHERE lease_expires_at > now()")
            # When it is asked to stop
            assert command.stop() == (128 + signal.SIGTERM, SAID)
    # Then no lease of it holds up the run that continues it
    assert not query(engine, "SELECT 1 FROM ingest.sync_run WHERE lease_expires_at > now()")
