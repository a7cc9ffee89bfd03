"""The command line reports an error in one sentence that says what is wrong, and never shows a secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.service import TOKEN, write_tenants

CLOSED_PORT = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["up"], {"TENANTS_FILE": "nowhere.toml"}, "TENANTS_FILE"),
        (["migrate"], {"DATABASE_URL": "mysql://x"}, "DATABASE_URL"),
        (["migrate"], {"DATABASE_URL": "postgresql://u:a/tenant-token-1f0c@h/d"}, "DATABASE_URL"),
        (["migrate"], {"DATABASE_URL": "postgresql://u:5432/tenant-token-1f0c@h/d"}, "DATABASE_URL"),
        (
            ["migrate"],
            {"DATABASE_URL": f"postgresql://u:p@{CLOSED_PORT}/d?port=1,2,3", "REDIS_URL": "redis://x"},
            "DATABASE_URL",
        ),
        (
            ["migrate"],
            {"DATABASE_URL": f"postgresql://u:p@{CLOSED_PORT}/d?connect_timeout=x", "REDIS_URL": "redis://x"},
            "DATABASE_URL",
        ),
        (
            ["migrate"],
            {"DATABASE_URL": f"postgresql://u:p@{CLOSED_PORT}/d?sslmode=x", "REDIS_URL": "redis://x"},
            "DATABASE_URL",
        ),
        (["status"], {"REDIS_URL": "redis://u:a/tenant-token-1f0c@h/0"}, "REDIS_URL"),
        (["status"], {"DATABASE_URL": f"postgresql://{CLOSED_PORT}/x", "REDIS_URL": "redis://x"}, "DATABASE_URL"),
        (["status"], {"REDIS_URL": f"redis://:{TOKEN[:-2]}/{TOKEN[-2:]}@h:1"}, "REDIS_URL"),
        (["serve"], {"RECEIVER_PORT": "eighty"}, "RECEIVER_PORT"),
        (["work"], {"RECEIVER_SWEEP_AFTER": "soon"}, "RECEIVER_SWEEP_AFTER"),
        (
            ["check"],
            {"RECEIVER_PUBLIC_URL": "receiver"},
            "RECEIVER_PUBLIC_URL: must be a URL that begins with https://",
        ),
        (["subscribe"], {}, "RECEIVER_PUBLIC_URL"),
        (["subscribe", "--tenant", "unknown"], {"RECEIVER_PUBLIC_URL": "https://x"}, "--tenant"),
        (["subscriptions", "--tenant", "demo"], {}, "demo: AMPECO"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_sentence_that_names_it(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], named: str
) -> None:
    write_tenants(tmp_path)
    ended = run(tmp_path, *arguments, **environment)
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert ended.stderr.startswith("ampeco-receiver: ")
    assert named in ended.stderr
    assert TOKEN not in ended.stdout + ended.stderr
    assert TOKEN[:-2] not in ended.stdout + ended.stderr
    assert not (tmp_path / ".local").exists(), "nothing is started for a start that fails"


def test_a_wrong_choice_of_an_option_is_explained_in_words(tmp_path: Path) -> None:
    write_tenants(tmp_path)
    ended = run(tmp_path, "export", "--format", "csv")
    assert ended.returncode == 2
    assert "'csv' is not one of 'parquet'" in ended.stderr
    assert "Value error" not in ended.stderr


@pytest.mark.parametrize(
    "url",
    ["postgresql://user:s3cret@host:s3cret/x", "postgresql://[user:s3cret@/x", "postgresql://user:s3cret@a,b:c/x"],
)
@pytest.mark.parametrize("command", ["migrate", "status"])
def test_no_url_ends_in_a_traceback_or_shows_a_password(tmp_path: Path, command: str, url: str) -> None:
    write_tenants(tmp_path)
    ended = run(tmp_path, command, DATABASE_URL=url, REDIS_URL=f"redis://{CLOSED_PORT}")
    assert ended.returncode in (1, 2)
    assert len(ended.stderr.strip().splitlines()) == 1
    assert ended.stderr.startswith("ampeco-receiver: ")
    assert "s3cret" not in ended.stderr


@pytest.mark.parametrize("level", ["info", "debug"])
def test_an_internal_error_is_one_sentence_with_a_traceback_only_at_level_debug(tmp_path: Path, level: str) -> None:
    broken = "from receiver.commands import main\nmain.app = lambda: int('s3cret')\nmain.main()"
    ended = subprocess.run(
        [sys.executable, "-c", broken],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "200", "RECEIVER_LOG_LEVEL": level},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 1
    *traceback, said = ended.stderr.strip().splitlines()
    assert said.startswith("ampeco-receiver: an unexpected error stopped it: ValueError in ")
    assert "RECEIVER_LOG_LEVEL=debug" in said
    assert "s3cret" not in said
    assert bool(traceback) == (level == "debug")


def test_json_has_no_colors_where_a_ci_system_asks_for_them(tmp_path: Path) -> None:
    write_tenants(tmp_path)
    listed = run(tmp_path, "trigger", "--list", "--json", FORCE_COLOR="1")
    assert json.loads(listed.stdout)["types"]


def test_a_tenant_with_two_tokens_is_refused_without_showing_either(tmp_path: Path) -> None:
    (tmp_path / "tenants.toml").write_text('[tenants.a]\nbase_url = "http://x"\ntoken = "s3cret"\ntoken_env = "Y"\n')
    ended = run(tmp_path, "subscriptions")
    assert ended.returncode == 2
    assert "tenants.a: needs exactly one of token, token_env and token_file" in ended.stderr
    assert "s3cret" not in ended.stderr


def test_a_database_is_migrated_shown_and_taken_back(tmp_path: Path, empty_database_url: str, redis_url: str) -> None:
    write_tenants(tmp_path)
    servers = {"DATABASE_URL": empty_database_url, "REDIS_URL": redis_url}

    before = run(tmp_path, "status", **servers)
    assert before.returncode == 2
    assert "ampeco-receiver migrate" in before.stderr

    assert "Migrated from nothing to" in run(tmp_path, "migrate", **servers).stdout
    assert "already" in run(tmp_path, "migrate", **servers).stdout
    shown = json.loads(run(tmp_path, "status", "--json", **servers).stdout)
    assert [tenant["tenant"] for tenant in shown["tenants"]] == ["demo", "other"]
    assert shown["queues"] == {"apply": 0, "refresh": 0, "reconcile": 0, "derive": 0}
    assert "Notifications and reads" in run(tmp_path, "status", **servers).stdout
    assert "Migrated back" in run(tmp_path, "migrate", "base", "--yes", **servers).stdout


@pytest.mark.parametrize(
    "program", [[sys.executable, "-m", "receiver"], [Path(sys.executable).with_name("ampeco-receiver")]]
)
def test_help_names_every_command(program: list[str | Path]) -> None:
    shown = subprocess.run([*program, "--help"], capture_output=True, text=True, timeout=100, check=True).stdout
    for command in (
        "up",
        "serve",
        "work",
        "migrate",
        "subscribe",
        "unsubscribe",
        "subscriptions",
        "status",
        "demo",
        "replay",
    ):
        assert command in shown


def test_the_shell_completes_commands_options_and_types() -> None:
    program = Path(sys.executable).with_name("ampeco-receiver")

    def completed(words: str) -> list[str]:
        asked = {
            "_AMPECO_RECEIVER_COMPLETE": "complete_bash",
            "COMP_WORDS": f"ampeco-receiver {words}",
            "COMP_CWORD": str(len(words.split())),
        }
        done = subprocess.run(program, env=os.environ | asked, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert completed("do") == ["doctor"]
    assert completed("status --js") == ["--json"]
    assert completed("trigger Hardware")[0] == "HardwareStatusNotification"


def test_the_completion_can_be_installed(tmp_path: Path) -> None:
    shown = run(tmp_path, "--help").stdout
    assert "--install-completion" in shown
    assert "--show-completion" in shown
