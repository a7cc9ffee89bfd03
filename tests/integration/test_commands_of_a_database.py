"""A command whose database cannot be used does nothing, and says in one sentence why."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

import migrations
from receiver.commands.group import COMMANDS
from storage.database_url import conninfo
from tests.support.commands import run
from tests.support.service import write_tenants

#: Commands that use no database, make their own, or show what is wrong with it; and `consume`, which needs brokers.
WITHOUT = {"check", "doctor", "demo", "chaos", "trigger", "subscriptions", "consume"}

#: Commands that make the tables.
MAKERS = {"migrate", "up"}

#: Commands that may work with the tables of a later release.
ACCEPTING = {"serve"}

USING = sorted(COMMANDS.keys() - WITHOUT)

#: What the commands cannot do without.
ARGUMENTS = {
    "subscribe": ["--public-url", "https://receiver.example.com"],
    "unsubscribe": ["--public-url", "https://receiver.example.com"],
    "replay": ["--failed"],
    "rebuild": ["--tenant", "demo"],
    "export": ["--to", "exported"],
    "exclude": ["--tenant", "demo", "--list"],
    "erase": ["--tenant", "demo", "--user", "7"],
}

NO_SERVER = "127.0.0.1:1"


@pytest.fixture
def stranger(database_url: str) -> Iterator[str]:
    """A user of the server who may do nothing with the tables."""
    name = f"stranger_{secrets.token_hex(4)}"
    with psycopg.connect(conninfo(database_url), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN")
        yield name
        connection.execute(f"DROP ROLE {name}")


def refusal(folder: Path, command: str, database_url: str) -> str:
    """Run a command to its end, and return the sentence with which it refused to begin."""
    write_tenants(folder)
    ended = run(
        folder, command, *ARGUMENTS.get(command, []), DATABASE_URL=database_url, REDIS_URL=f"redis://{NO_SERVER}"
    )
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert ended.stdout == ""
    (sentence,) = ended.stderr.splitlines()
    return sentence


@pytest.mark.parametrize("command", USING)
def test_a_server_that_does_not_answer_is_named_with_its_setting(tmp_path: Path, command: str) -> None:
    sentence = refusal(tmp_path, command, f"postgresql://user:s3cret@{NO_SERVER}/ampeco")
    assert re.fullmatch(r"ampeco-receiver: Postgres: .*Connection refused \(DATABASE_URL\)", sentence)
    assert "s3cret" not in sentence


@pytest.mark.parametrize("command", USING)
def test_a_host_that_has_no_address_is_named(tmp_path: Path, command: str) -> None:
    sentence = refusal(tmp_path, command, "postgresql://user:s3cret@no-such-host.invalid/ampeco")
    assert re.fullmatch(r"ampeco-receiver: Postgres: .*no-such-host\.invalid.* \(DATABASE_URL\)", sentence)
    assert "s3cret" not in sentence


@pytest.mark.parametrize("command", USING)
def test_a_user_without_rights_is_named(tmp_path: Path, database_url: str, stranger: str, command: str) -> None:
    url = make_url(database_url).set(username=stranger).render_as_string(hide_password=False)
    assert "permission denied" in refusal(tmp_path, command, url)


@pytest.mark.parametrize("command", sorted(set(USING) - MAKERS))
def test_a_database_without_tables_is_to_be_migrated(tmp_path: Path, empty_database_url: str, command: str) -> None:
    assert refusal(tmp_path, command, empty_database_url) == (
        "ampeco-receiver: DATABASE_URL: the database has no tables of this service yet; run `ampeco-receiver migrate`."
    )


@pytest.mark.parametrize("command", sorted(set(USING) - ACCEPTING))
def test_a_database_of_a_later_release_is_left_alone(tmp_path: Path, database_url: str, command: str) -> None:
    with psycopg.connect(conninfo(database_url)) as connection:
        connection.execute("UPDATE ingest.alembic_version SET version_num = '9999'")
    sentence = refusal(tmp_path, command, database_url)
    assert sentence.startswith("ampeco-receiver: DATABASE_URL: the database is at revision 9999, which this release")
    assert f"`ampeco-receiver migrate {migrations.head()}`" in sentence
    with psycopg.connect(conninfo(database_url)) as connection:
        assert connection.execute("SELECT version_num FROM ingest.alembic_version").fetchall() == [("9999",)]
