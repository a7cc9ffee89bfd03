"""The embedded servers start wherever a newcomer puts the project, and beside those of other users."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from receiver.processes.embedded import embedded_postgres, embedded_redis, embedded_servers
from runtime.settings import Settings, SettingsError
from storage.database import create_database_engine
from storage.database_url import conninfo
from tests.support.commands import run
from tests.support.requirements import AS_NOBODY, needs_root


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, which others may enter."""
    found = Path(tempfile.mkdtemp(prefix="re-"))
    found.chmod(0o755)
    yield found
    shutil.rmtree(found, ignore_errors=True)


def use(database_url: str, redis_url: str) -> None:
    """Connect both ways that the service connects to Postgres, and to Redis."""
    engine = create_database_engine(database_url, application_name="tests", pool_size=1)
    engine.connect().close()
    engine.dispose()
    psycopg.connect(conninfo(database_url)).close()
    client = redis.Redis.from_url(redis_url)
    assert client.ping()
    client.close()


@pytest.mark.parametrize("name", ["with a space", "mü", "quo'te\"$HOME;,%2F?#", "long" * 30])
def test_they_start_in_any_folder(folder: Path, name: str) -> None:
    for _ in ("made", "found again"):
        with embedded_postgres(folder / name / "pg") as postgres, embedded_redis(folder / name / "redis") as redis_url:
            use(postgres, redis_url)


@pytest.mark.parametrize("locale", ["C", "xx_XX.UTF-8", "POSIX"])
def test_they_start_in_any_locale(folder: Path, monkeypatch: pytest.MonkeyPatch, locale: str) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    with embedded_postgres(folder / "mü") as postgres:
        connection = psycopg.connect(conninfo(postgres))
        assert connection.execute("SELECT upper('ü'), current_setting('server_encoding')").fetchone() == ("Ü", "UTF8")
        connection.close()


def test_a_start_that_was_killed_half_way_is_made_again(folder: Path) -> None:
    (folder / "pg/data.new/base").mkdir(parents=True)
    (folder / "pg/data.new/PG_VERSION").write_text("18\n")
    with embedded_postgres(folder / "pg") as postgres:
        psycopg.connect(conninfo(postgres)).close()


def test_why_postgres_did_not_start_is_one_sentence(folder: Path) -> None:
    with embedded_postgres(folder / "pg"):
        pass
    (folder / "pg/data/postgresql.conf").write_text("nonsense = on\n")
    with pytest.raises(
        SettingsError, match=r"did not start: configuration file .* contains errors; its log is .*/postgres\.log\.$"
    ):
        embedded_postgres(folder / "pg").__enter__()


@needs_root
def test_two_users_of_one_machine_do_not_meet(folder: Path) -> None:
    # Given servers of one user, with sockets that have to be elsewhere
    name = "long" * 30
    with embedded_postgres(folder / name / "pg"), embedded_redis(folder / name / "redis"):
        # When another user starts servers of their own
        theirs = folder / "theirs"
        theirs.mkdir()
        shutil.chown(theirs, "nobody")
        script = (
            "import sys; from pathlib import Path; from receiver.processes.embedded import *\n"
            "folder = Path(sys.argv[1])\n"
            "with embedded_postgres(folder / 'pg') as postgres, embedded_redis(folder / 'redis') as found:\n"
            "    from tests.integration.test_embedded import use; use(postgres, found); print('used')\n"
        )
        done = subprocess.run(
            [*AS_NOBODY, sys.executable, "-c", script, str(theirs / name)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        # Then they have them
        assert done.stdout == "used\n", done.stderr


@needs_root
@pytest.mark.parametrize("command", [["migrate"], ["demo"]], ids=" ".join)
def test_a_folder_of_another_user_is_named_in_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    done = subprocess.run(
        [*AS_NOBODY, sys.executable, "-m", "receiver", *command],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if "COVERAGE" not in name} | {"COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"ampeco-receiver: RECEIVER_DATA_DIR: {folder}/.local")
    assert said.endswith("set RECEIVER_DATA_DIR to a folder of your own.")


@needs_root
def test_a_socket_is_never_put_where_another_user_was_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with embedded_redis(folder / "with a space"):
        (sockets,) = [found for found in folder.iterdir() if found.name.startswith("ampeco-receiver-")]
    shutil.chown(sockets, "nobody")
    with pytest.raises(SettingsError, match=f"{sockets}.* is another user's"):
        embedded_redis(folder / "with a space").__enter__()


def test_servers_outlive_a_command_that_another_one_shares_them_with(folder: Path) -> None:
    with embedded_postgres(folder / "postgres") as postgres:
        shared = run(folder, "migrate", RECEIVER_DATA_DIR=str(folder), REDIS_URL="redis://127.0.0.1:1")
        assert shared.returncode == 0, shared.stderr
        psycopg.connect(conninfo(postgres)).close()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(conninfo(postgres))


def test_their_urls_are_in_the_environment_only_while_they_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    for number in ("first", "second"):
        settings = Settings(data_dir=folder / number)
        with embedded_servers(settings) as ready:
            assert os.environ["DATABASE_URL"] == ready.database_url
            assert number in str(ready.database_url)
        assert not {"DATABASE_URL", "REDIS_URL"} & os.environ.keys()
