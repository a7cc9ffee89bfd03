"""What files contain: tokens and URLs are read without a byte order mark, whatever the locale is, or refused in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ampeco.tenants import load_tenants
from runtime.settings import Settings, SettingsError, load_settings

MARK = b"\xef\xbb\xbf"

TENANTS = """
[tenants.demo]
base_url = "https://tenant.example.com/é"
token_file = "{directory}/token"
signing_tokens_file = "{directory}/tokens"
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "tenants.toml").write_bytes(MARK + TENANTS.format(directory=tmp_path).encode())
    (tmp_path / "token").write_bytes(MARK + b"token-of-the-api\r\n")
    (tmp_path / "tokens").write_bytes(MARK + b"older-token\r\noldest-token\r\n")
    (tmp_path / "operator").write_bytes(MARK + b"token-of-operators\n")
    return tmp_path


def test_a_byte_order_mark_is_part_of_no_token_and_of_no_table(directory: Path) -> None:
    tenant = load_tenants(directory / "tenants.toml")["demo"]
    assert tenant.api_token().get_secret_value() == "token-of-the-api"
    (directory / "plain").write_text("token-of-the-api")
    plain = tenant.model_copy(update={"token_file": directory / "plain", "signing_tokens_file": None})
    assert tenant.signing_keys()[0] == plain.signing_keys()[0]
    assert len(tenant.signing_keys()) == 3
    secret = Settings(admin_token_file=directory / "operator").admin_secret()
    assert secret is not None
    assert secret.get_secret_value() == "token-of-operators"


@pytest.mark.process
def test_tenants_are_read_in_any_locale(directory: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ampeco.tenants import load_tenants;"
        " print(load_tenants(Path(sys.argv[1]))['demo'].url)"
    )
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    shown = subprocess.run(
        [sys.executable, "-c", code, str(directory / "tenants.toml")],
        env=os.environ | plain,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip().startswith("https://tenant.example.com/")


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("DATABASE_URL", "postgresql://receiver:secret@db/ampeco"),
        ("REDIS_URL", "rediss://:secret@redis:6380/0"),
    ],
)
def test_the_url_of_a_server_may_come_from_a_file(
    setting: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "url"
    path.write_bytes(MARK + f"{url}\n".encode())
    monkeypatch.delenv(setting, raising=False)
    monkeypatch.setenv(f"{setting}_FILE", str(path))
    assert getattr(load_settings(), setting.lower()) == url


@pytest.mark.parametrize("setting", ["DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize(
    ("content", "is_set_twice", "problem"),
    [
        (None, False, "{setting}_FILE: {path} cannot be read: No such file or directory."),
        (b"\xff\xfe", False, "{setting}_FILE: {path} cannot be read: it is not text."),
        (b"  \n", False, "{setting}_FILE is empty: write the URL into {path}, or unset it."),
        (b"redis://redis", True, "{setting} and {setting}_FILE are both set: unset one."),
    ],
)
def test_a_url_that_cannot_be_had_from_its_file_stops_the_start(
    setting: str,
    content: bytes | None,
    is_set_twice: bool,
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "url"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.delenv(setting, raising=False)
    if is_set_twice:
        monkeypatch.setenv(setting, "redis://redis")
    monkeypatch.setenv(f"{setting}_FILE", str(path))
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value) == problem.format(setting=setting, path=path)
