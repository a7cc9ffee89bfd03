"""Whatever is wrong in ``tenants.toml`` is named with its setting, in one sentence and without a token."""

from __future__ import annotations

from pathlib import Path

import pytest

from ampeco.tenants import TenantsError, load_tenants

URL = 'base_url = "https://t.example.com"'

FAULTS = {
    f"[tenants.t]\n{URL}": "needs exactly one of token, token_env and token_file, and has none of them",
    f'[tenants.t]\n{URL}\ntoken = "s3cret"\ntoken_env = "X"': "has token and token_env",
    f'[tenants.t]\n{URL}\ntoken = " "': "tenants.t.token is empty",
    f'[tenants.t]\n{URL}\ntoken_env = "NOT_SET_ANYWHERE"': "tenants.t.token_env (NOT_SET_ANYWHERE) is empty",
    f'[tenants.t]\n{URL}\ntoken_file = "/nowhere/token"': "tenants.t.token_file: /nowhere/token cannot be read",
    f'[tenants.t]\n{URL}\ntoken = "s3cret"\nsigning_tokens_file = "/nowhere/tokens"': (
        "tenants.t.signing_tokens_file: /nowhere/tokens cannot be read"
    ),
    f'[tenants.t]\n{URL}\ntoken = "s3cret"\nnotifications = ["PartnerChangedNotification"]': (
        "notifications contains types that AMPECO does not offer: PartnerChangedNotification"
    ),
    f'[tenants.t]\n{URL}\ntoken = "s3cret"\nnotifications = ["two words"]': "tenants.t.notifications.0",
    f'[tenants.t]\n{URL}\ntoken = "s3cret"\ncalls_per_day = 10': "tenants.t.calls_per_day",
    f'[tenants.t]\n{URL}\ntoken = "s3cret"\ncall_per_day = 9000': "tenants.t.call_per_day",
    f'[tenants.t]\n{URL}\ntokn = "s3cret"': "tenants.t.tokn is no setting of this release, but token is.",
    '[tenants.t]\nbase_ulr = "https://t.example.com"\ntoken = "s3cret"': (
        "tenants.t.base_ulr is no setting of this release, but base_url is."
    ),
    '[tenants.t]\nbase_url = "t.example.com"\ntoken = "s3cret"': (
        "tenants.t.base_url: must be a URL that begins with https:// or http://."
    ),
    '[tenants.t]\nbase_url = "ftp://t.example.com"\ntoken = "s3cret"': (
        "tenants.t.base_url: must be a URL that begins with https:// or http://."
    ),
    f'[tenants.t]\n{URL}\ntoken = "s3cret"\nmirror = ["flet", "sessions"]': "or 'roaming'; the nearest is fleet.",
    f'[tenants.t]\n{URL}\ntoken = "s3cret"\nmirror = ["s3cret", 3]': "tenants.t.mirror.0: Input should be 'fleet',",
    f'[tenants.t]\n{URL}\ntoken = "s3cret"\nxyzzy = 1': "tenants.t.xyzzy is no setting of this release.",
    f'[tenants.t]\n{URL}\ntoken = "s3cret"\nkafka_topic = "two words"': "tenants.t.kafka_topic",
    f'[tenants.t]\n{URL}\ntoken = "s3cret"\nkafka_topic = "x"\n[tenants.u]\n{URL}\ntoken = "s3cret"\nkafka_topic = "x"': (
        "tenants.u.kafka_topic: it is the topic of t, too"
    ),
    f'[tenants."Capital"]\n{URL}\ntoken = "s3cret"': "tenants.Capital: a name is lower-case letters",
    "[tenants]\nt = 3": "tenants.t must be a table",
    "tenants = 3": "names no tenant; it needs a table [tenants.NAME]",
    "[other]": "names no tenant; it needs a table [tenants.NAME]",
    "[tenants.t": "is not valid TOML",
}


@pytest.mark.parametrize(("text", "sentence"), FAULTS.items(), ids=FAULTS.values())
def test_a_fault_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text(text)
    with pytest.raises(TenantsError) as raised:
        load_tenants(path)
    assert sentence in str(raised.value)
    assert str(path) in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert str(raised.value).endswith(".")


@pytest.mark.parametrize(("name", "sentence"), [("missing.toml", "does not exist"), (".", "cannot be read")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(TenantsError, match=sentence):
        load_tenants(tmp_path / name)


def test_the_line_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    path.write_bytes(b"[tenants.t]\n# \xe9\n")
    with pytest.raises(TenantsError, match=r"tenants\.toml is not UTF-8: see line 2"):
        load_tenants(path)


def test_tokens_of_a_file_are_read_line_by_line_and_types_that_we_do_not_know_are_listed(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("old\n\n older \n")
    path = tmp_path / "tenants.toml"
    path.write_text(
        f'[tenants.t]\n{URL}\ntoken = "s3cret"\nsigning_tokens_file = "{tmp_path / "tokens"}"\n'
        'notifications = ["evse.changed", "something.new"]\n'
    )
    tenant = load_tenants(path)["t"]
    assert [key.secret for key in tenant.signing_keys()] == [b"s3cret", b"old", b"older"]
    assert tenant.unknown_notifications == ("something.new",)
