"""Whatever is wrong in ``[alerts]`` is named with its setting, in one sentence and without the webhook's URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from ampeco.tenants import TenantsError
from runtime.alerts import Alerts, load_alerts
from runtime.settings import Settings
from storage.monitoring.alerts import KINDS

URL = "https://hooks.example.com/s3cret"


def load(directory: Path, alerts: str) -> Alerts | None:
    """Load the settings of alerts from a file that begins with them."""
    path = directory / "tenants.toml"
    path.write_text(f'{alerts}\n[tenants.t]\nbase_url = "https://t.example.com"\ntoken = "t"\n')
    return load_alerts(Settings(tenants_file=path))


FAULTS = {
    "alerts = 3": "alerts must be a table",
    "[alerts]": "alerts: needs exactly one of url, url_env and url_file, and has none of them",
    f'[alerts]\nurl = "{URL}"\nurl_env = "X"': "alerts: needs exactly one of url, url_env and url_file, and has url and",
    '[alerts]\nurl = "hooks.example.com/s3cret"': "alerts.url must be a URL that begins with https:// or http://",
    '[alerts]\nurl = "ftp://hooks.example.com/s3cret"': "alerts.url must be a URL",
    '[alerts]\nurl = "https:///s3cret"': "alerts.url must be a URL",
    '[alerts]\nurl_env = "NOT_SET_ANYWHERE"': "alerts.url_env (NOT_SET_ANYWHERE) must be a URL",
    '[alerts]\nurl_file = "/nowhere/url"': "alerts.url_file: /nowhere/url cannot be read",
    f'[alerts]\nurl = "{URL}"\nformat = "xml"': "alerts.format: ",
    f'[alerts]\nurl = "{URL}"\nkinds = ["traffic"]': "alerts.kinds.0: ",
    f'[alerts]\nurl = "{URL}"\nkinds = ["traffic_gaps"]': "; the nearest is traffic_gap.",
    f'[alerts]\nurl = "{URL}"\nkinds = []': "alerts.kinds: ",
    f'[alerts]\nurl = "{URL}"\ntenants = []': "alerts.tenants: ",
    f'[alerts]\nurl = "{URL}"\ntenants = ["t", "other"]': "alerts.tenants: other is no tenant of ",
    f'[alerts]\nurl = "{URL}"\nconsole_url = "console"': "alerts.console_url: ",
    f'[alerts]\nurl = "{URL}"\nchannel = "x"': "alerts.channel is no setting of this release",
}


@pytest.mark.parametrize(("alerts", "sentence"), FAULTS.items(), ids=FAULTS.values())
def test_a_fault_is_named(tmp_path: Path, alerts: str, sentence: str) -> None:
    with pytest.raises(TenantsError) as raised:
        load(tmp_path, alerts)
    assert sentence in str(raised.value)
    assert str(tmp_path / "tenants.toml") in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert str(raised.value).endswith(".")


def test_without_the_table_no_alert_is_sent(tmp_path: Path) -> None:
    assert load(tmp_path, "") is None


@pytest.mark.parametrize("place", ["url", "url_env", "url_file"])
def test_the_url_is_found_in_each_of_its_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("ALERTS_URL", f"{URL}\n")
    (tmp_path / "url").write_bytes(b"\xef\xbb\xbf" + f"{URL}\r\n".encode())
    value = {"url": URL, "url_env": "ALERTS_URL", "url_file": str(tmp_path / "url")}[place]
    alerts = load(tmp_path, f'[alerts]\n{place} = "{value}"\nconsole_url = "https://console.example.com/"')
    assert alerts is not None
    assert alerts.url.get_secret_value() == URL
    assert (alerts.format, alerts.tenants, alerts.kinds) == ("json", ("t",), KINDS)
    assert alerts.console_url == "https://console.example.com"
    assert "s3cret" not in repr(alerts)
