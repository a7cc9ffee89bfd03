"""Going back to older tables destroys nothing unasked, and a release leaves newer tables alone."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

import migrations
from storage.database import create_database_engine
from tests.support.commands import run
from tests.support.facts import sample
from tests.support.log import accept, execute, query
from tests.support.service import write_tenants
from workers.apply.apply import apply_open_batches

NOTIFICATIONS = [sample("HardwareStatusNotification.evse") | {"evseId": number} for number in range(1, 8)]


def refusal(ended: subprocess.CompletedProcess[str]) -> str:
    """What a command said that was refused: one sentence."""
    assert ended.returncode == 2, ended.stderr
    (said,) = ended.stderr.strip().splitlines()
    assert said.startswith("ampeco-receiver: ")
    assert said.endswith(".")
    return said


@pytest.fixture
def filled(tmp_path: Path, database_url: str, redis_url: str, engine: Engine) -> dict[str, str]:
    """A database in which something would be missed."""
    write_tenants(tmp_path)
    accept(engine, *NOTIFICATIONS, tenant="demo")
    apply_open_batches(engine)
    execute(
        engine,
        "INSERT INTO ingest.suppression (tenant, digest, erasure_id) VALUES ('demo', '\\x01', :id)",
        id=uuid4(),
    )
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url}


def lost_rows(output: str) -> dict[str, str]:
    """The rows that a command says would be lost, by table."""
    return dict(re.findall(r"([a-z_]+\.[a-z_]+) .* ([\d,]+) \S?$", output, re.MULTILINE))


def test_going_back_says_what_is_lost_and_needs_a_yes(tmp_path: Path, filled: dict[str, str], engine: Engine) -> None:
    asked = run(tmp_path, "migrate", "base", **filled)
    assert "--yes" in refusal(asked)
    lost = lost_rows(asked.stdout)
    assert (lost["ingest.notification"], lost["charging.evse"], lost["ingest.suppression"]) == ("7", "7", "1")
    # One step back drops less
    before = migrations.revisions()[-2]
    fewer = run(tmp_path, "migrate", before, **filled)
    assert before in fewer.stdout
    assert "ingest.notification" not in fewer.stdout
    # And nothing was changed by asking
    assert query(engine, "SELECT count(*) AS n FROM ingest.notification") == [{"n": len(NOTIFICATIONS)}]
    assert query(engine, "SELECT count(*) AS n FROM ingest.suppression") == [{"n": 1}]
    went = run(tmp_path, "migrate", "base", "--yes", **filled)
    assert went.returncode == 0, went.stderr
    assert "Migrated back" in went.stdout


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 1), (b"y\n", 0)])
def test_on_a_terminal_going_back_asks(
    tmp_path: Path, filled: dict[str, str], engine: Engine, answer: bytes, left: int
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "receiver", "migrate", "base"],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "200"} | filled,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    output = b""
    while b"Go back to base?" not in output:
        output += os.read(ours, 4096)
    assert b"ingest.notification" in output
    os.write(ours, answer)
    assert process.wait(60) == left
    os.close(ours)
    found = query(engine, "SELECT to_regclass('ingest.notification') IS NOT NULL AS kept")
    assert found == [{"kept": bool(left)}]


@pytest.mark.parametrize("process", ["serve", "work apply", "backfill"])
def test_a_migration_back_is_refused_while_the_service_is_connected(
    tmp_path: Path, filled: dict[str, str], engine: Engine, process: str
) -> None:
    other = create_database_engine(filled["DATABASE_URL"], application_name=f"ampeco-receiver {process}", pool_size=1)
    with other.connect():
        said = refusal(run(tmp_path, "migrate", "base", "--yes", **filled))
        assert f"{process} (1)" in said
        with pytest.raises(migrations.MigrationError):
            migrations.downgrade(engine, "base")
    other.dispose()
    assert query(engine, "SELECT count(*) AS n FROM ingest.notification") == [{"n": len(NOTIFICATIONS)}]


def test_a_release_that_is_older_than_the_tables_does_not_go_back(
    tmp_path: Path, filled: dict[str, str], engine: Engine
) -> None:
    execute(engine, "UPDATE ingest.alembic_version SET version_num = '9999'")
    said = refusal(run(tmp_path, "migrate", "base", "--yes", **filled))
    assert "9999" in said
    assert f"ampeco-receiver migrate {migrations.head()}" in said
    assert query(engine, "SELECT version_num FROM ingest.alembic_version") == [{"version_num": "9999"}]


def test_a_revision_that_does_not_exist_is_named(tmp_path: Path, filled: dict[str, str]) -> None:
    assert "no revision 0815" in refusal(run(tmp_path, "migrate", "0815", **filled))
