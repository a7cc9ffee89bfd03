"""The command ``check`` finds what keeps a process from starting, and calls no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import run

pytestmark = pytest.mark.process

TENANT = '[tenants.demo]\nbase_url = "https://tenant.example.com"\ntoken = "token-of-the-api"\n'

#: No server is there, so a check that called one would fail or wait.
SERVERS = {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"}


def test_valid_settings_are_confirmed_and_variables_without_effect_named(tmp_path: Path) -> None:
    (tmp_path / "tenants.toml").write_text(TENANT)
    done = run(tmp_path, "check", **SERVERS, RECEIVER_PROT="8080")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "The settings are valid. Tenants: demo.\n"
    assert "RECEIVER_PROT is not a setting of this release" in done.stderr


@pytest.mark.parametrize(
    ("tenants", "environment", "problem"),
    [
        (TENANT, {"RECEIVER_PORT": "many"}, "RECEIVER_PORT: "),
        (TENANT, {"REDIS_URL": "http://redis"}, "REDIS_URL must begin with"),
        (TENANT.replace("token =", "token_file ="), {}, "token-of-the-api"),
        (f"{TENANT}[alerts]\nformat = 'slack'\n", {}, "alerts"),
        (f"{TENANT}[console.users.anna]\nrole = 'act'\ntoken = 'short'\n", {}, "console.users.anna"),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(
    tenants: str, environment: dict[str, str], problem: str, tmp_path: Path
) -> None:
    (tmp_path / "tenants.toml").write_text(tenants)
    done = run(tmp_path, "check", **SERVERS | environment)
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert problem in sentence
    assert done.stdout == ""
