"""The database's own bad days: a migration while traffic runs, and a disk that is full."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

import migrations
from storage.database import create_database_engine
from storage.inbox.partitions import make_partitions
from tests.support.directories import short_directory
from tests.support.processes import processes
from tests.support.releases import NEXT_REVISIONS, next_release
from tests.support.servers import DATABASE, own_postgres, own_redis
from tests.support.service import eventually
from tests.support.trial import Ground, Line

pytestmark = pytest.mark.timeout(400)


@pytest.mark.long
def test_a_migration_while_traffic_runs_loses_nothing(ground: Ground, tmp_path: Path) -> None:
    # Given the next release, whose migration locks the tables that everybody writes to
    release = next_release(tmp_path)

    def migrate(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "receiver", "migrate", *arguments],
            env=os.environ | ground.service.environment | release.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    with ground.load("migrate, with locks held for 8 s") as load:
        # When it migrates while this release's processes run
        for revision in NEXT_REVISIONS:
            migrated = migrate(revision)
            assert migrated.returncode == 0, migrated.stderr
            assert revision in migrated.stdout
            load.sender.wait_for(50)
        # And it does not go back under them
        refused = migrate("9998", "--yes")
        assert refused.returncode == 2
        assert "serve" in refused.stderr
        assert "work apply" in refused.stderr
        load.sender.wait_for(50)


SMALL_DISK_MB = 48

#: A file system that no other process sees, and in it a user other than root, as whom
#: Postgres would not run. It needs user namespaces, and no rights.
_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
_AS_USER = 'exec unshare --user --map-user=1000 --map-group=1000 "$@"'


@pytest.fixture
def small_disk(fault_table: list[Line], tmp_path: Path) -> Iterator[Ground]:
    """The service at work on a database whose tablespace is a small file system."""
    with short_directory() as disk:
        mount = f"mount -t tmpfs -o size={SMALL_DISK_MB}m,mode=0777 none {disk} && {_AS_USER}"
        try:
            subprocess.run([*_NAMESPACE, mount, "sh", "true"], check=True, capture_output=True, timeout=30)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"no small file system can be made here, as it needs user namespaces: {error}")
        with (
            own_postgres(prefix=[*_NAMESPACE, mount, "sh"]) as postgres,
            own_redis() as redis_server,
            processes(postgres.url, redis_server.url, tmp_path) as service,
        ):
            with postgres.connect("postgres") as connection:
                connection.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
                connection.execute(f"DROP DATABASE {DATABASE}")
                connection.execute(f"CREATE DATABASE {DATABASE} TABLESPACE small")
            engine = create_database_engine(postgres.url, application_name="tests", pool_size=2)
            migrations.upgrade(engine)
            make_partitions(engine)
            receiver, worker = service.serve(), service.work()
            eventually(lambda: service.log.read_text().count('"working"') == 1, seconds=60)
            yield Ground(postgres, redis_server, service, engine, receiver, worker, fault_table)
            engine.dispose()


@pytest.mark.long
def test_a_full_disk_turns_senders_away_until_there_is_room(small_disk: Ground) -> None:
    with small_disk.load("disk full for 15 s") as load:
        with small_disk.postgres.connect() as connection:
            connection.execute("CREATE UNLOGGED TABLE filler (bytes bytea STORAGE PLAIN)")
            fill(connection)
            full_until = time.monotonic() + 15
            while time.monotonic() < full_until:
                time.sleep(0.2)
                fill(connection)
            assert load.sender.answers[503] > 0
            connection.execute("DROP TABLE filler")
        load.sender.wait_for(50)
    with small_disk.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM ingest.outcome")).scalar_one() == 0


def fill(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Take all the room that is left, in steps that become small."""
    statement = "INSERT INTO filler SELECT repeat('x', 7000)::bytea FROM generate_series(1, %s)"
    for rows in (1_000, 100, 10, 1):
        with contextlib.suppress(psycopg.errors.DiskFull):
            while True:
                connection.execute(statement, (rows,))
