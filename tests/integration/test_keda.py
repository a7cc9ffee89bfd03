"""KEDA's user, with the rights that the page gives it, reads the age of the oldest open batch and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import yaml
from sqlalchemy import Engine, make_url, text

from storage.database_url import conninfo
from tests.support.batches import claim, commit, group
from tests.support.databases import database_user
from tests.support.pages import fenced

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations" / "kubernetes.md").read_text()
OBJECTS = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "components" / "keda" / "apply.yaml").read_text())
QUERY: str = next(each for each in OBJECTS if each["kind"] == "ScaledObject")["spec"]["triggers"][0]["metadata"][
    "query"
]


@pytest.fixture
def scaler_url(engine: Engine) -> Iterator[str]:
    """The database's URL for a user that has the rights of the page."""
    grants = re.findall(r"^ *(GRANT .* TO) scaler;$", "\n".join(fenced(PAGE, "text")), re.MULTILINE)
    assert len(grants) == 2
    with database_user(engine, "scaler") as url:
        with engine.begin() as connection:
            for grant in grants:
                connection.execute(text(f"{grant} {make_url(url).username}"))
        yield url


def age(url: str) -> int:
    """Return what KEDA reads, in seconds."""
    with psycopg.connect(conninfo(url)) as connection:
        row = connection.execute(QUERY).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


def test_keda_reads_the_age_of_the_oldest_open_batch(scaler_url: str, database_url: str, engine: Engine) -> None:
    assert age(scaler_url) == 0
    commit(database_url, group("demo", b"{}"))
    commit(database_url, group("demo", b"{}"))
    with engine.begin() as connection:
        oldest, newest = connection.execute(text("SELECT batch_id FROM ingest.batch ORDER BY batch_id")).scalars()
        for batch, waited in ((oldest, timedelta(hours=2)), (newest, timedelta(hours=1))):
            connection.execute(
                text(
                    "UPDATE ingest.batch SET committed_at = committed_at - CAST(:waited AS interval) WHERE batch_id = :id"
                ),
                {"id": batch, "waited": waited},
            )
    assert 7200 <= age(scaler_url) < 7200 + 3600

    # A batch that is claimed still waits; one that is applied does not
    assert len(claim(engine)) == 2
    assert age(scaler_url) >= 7200
    with engine.begin() as connection:
        connection.execute(text("UPDATE ingest.batch SET applied_at = now() WHERE batch_id = :id"), {"id": oldest})
    assert 3600 <= age(scaler_url) < 7200
    with engine.begin() as connection:
        connection.execute(text("UPDATE ingest.batch SET applied_at = now()"))
    assert age(scaler_url) == 0


@pytest.mark.parametrize(
    "statement", ["SELECT last_error FROM ingest.batch", "SELECT FROM ingest.notification", "DELETE FROM ingest.batch"]
)
def test_kedas_user_reads_nothing_else(scaler_url: str, statement: str) -> None:
    with psycopg.connect(conninfo(scaler_url)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)
