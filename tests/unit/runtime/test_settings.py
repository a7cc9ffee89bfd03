"""Files that an editor began with a byte order mark are read without it, whatever the locale is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ampeco.tenants import load_tenants
from runtime.settings import Settings

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
