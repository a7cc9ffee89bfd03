"""The users of the console in the tenants file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ampeco.tenants import TenantsError
from receiver.console.access.users import load_users

TOKEN = "0123456789abcdef"


def written(directory: Path, text: str) -> Path:
    path = directory / "tenants.toml"
    path.write_text(text)
    return path


def test_a_user_is_found_by_the_token_from_any_of_the_three_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSOLE_TOKEN_OF_BEN", f"{TOKEN}-ben")
    (tmp_path / "carla").write_text(f"{TOKEN}-carla\n")
    path = written(
        tmp_path,
        f"""
        [console.users.anna]
        role = "look"
        token = "{TOKEN}-anna"
        [console.users.ben]
        role = "act"
        token_env = "CONSOLE_TOKEN_OF_BEN"
        [console.users.carla]
        role = "act"
        token_file = "{tmp_path / "carla"}"
        """,
    )
    users = load_users(path)
    found = {name: users.with_token(f"{TOKEN}-{name}") for name in ("anna", "ben", "carla", "dora")}
    assert {name: user and user.may_act for name, user in found.items()} == {
        "anna": False,
        "ben": True,
        "carla": True,
        "dora": None,
    }


def test_a_file_without_users_has_none(tmp_path: Path) -> None:
    assert not load_users(written(tmp_path, "[tenants.demo]\n"))


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('role = "look"', "needs exactly one of token, token_env and token_file, and has none of them"),
        (f'role = "look"\ntoken = "{TOKEN}"\ntoken_env = "X"', "has token and token_env"),
        ('role = "look"\ntoken = "short"', "at least 16 characters"),
        ('role = "look"\ntoken_env = "NOT_THERE"', "at least 16 characters"),
        ('role = "look"\ntoken_file = "/not/there"', "cannot be read"),
        (
            f'role = "rule"\ntoken = "{TOKEN}"',
            "tenants.toml: console.users.anna.role: Input should be 'look' or 'act'[.]",
        ),
        (f'role = "loook"\ntoken = "{TOKEN}"', "console.users.anna.role: .*; the nearest is look[.]"),
        (f'role = "look"\ntokn = "{TOKEN}"', "console.users.anna.tokn is no setting of this release, but token is[.]"),
        (f'role = "look"\ntoken = "{TOKEN}"\ncolour = "red"', "console.users.anna.colour"),
    ],
)
def test_a_wrong_entry_is_named_without_its_token(tmp_path: Path, table: str, problem: str) -> None:
    with pytest.raises(TenantsError, match=problem) as refused:
        load_users(written(tmp_path, f"[console.users.anna]\n{table}\n"))
    assert TOKEN not in str(refused.value)


def test_a_name_that_could_break_the_cookie_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TenantsError, match="a name is letters"):
        load_users(written(tmp_path, f'[console.users."an.na"]\nrole = "look"\ntoken = "{TOKEN}"\n'))
