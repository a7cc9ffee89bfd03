"""The demo can save its view as a picture for a page."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
from sqlalchemy import Engine, text

from receiver.demo.dashboard import WIDE, LiveView


# storage.reports.demo_view calls Result.tuples(), which SQLAlchemy 2.1 deprecates.
@pytest.mark.filterwarnings("ignore:The Result.tuples")
def test_the_saved_view_is_a_picture_that_shows_the_tenant_and_loads_nothing(database_url: str, tmp_path: Path) -> None:
    with LiveView("harbour", database_url) as view:
        view.save(tmp_path / "view.svg")
    svg = (tmp_path / "view.svg").read_text(encoding="utf-8")
    picture = ElementTree.fromstring(svg)
    assert picture.tag.endswith("}svg")
    shown = "".join(picture.itertext()).replace("\N{NO-BREAK SPACE}", " ")
    assert "harbour" in shown
    assert "Ctrl-C stops everything." in shown
    assert "url(http" not in svg.replace('url("http', "url(http")


@pytest.mark.filterwarnings("ignore:The Result.tuples")
@pytest.mark.parametrize("width", [60, 80, 120])
def test_each_bar_and_each_session_is_one_line_in_any_width(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr("receiver.demo.dashboard.SAVED_WIDTH", width)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO charging.evse (tenant, evse_id, hardware_status)"
                " SELECT 'harbour', id, 'temporarily_unavailable' FROM generate_series(1, 1200) AS id"
            )
        )
        connection.execute(
            text(
                "INSERT INTO charging.session (tenant, session_id, evse_id, status, started_at, energy_wh, power_w,"
                " soc_percent) VALUES ('harbour', 1234567, 1, 'active', now(), 98765, 149900, 78)"
            )
        )
    with LiveView("harbour", database_url) as view:
        view.save(tmp_path / "view.svg")
    lines: dict[str, str] = defaultdict(str)
    for element in ElementTree.parse(tmp_path / "view.svg").iter("{http://www.w3.org/2000/svg}text"):
        lines[element.get("y", "")] += "".join(element.itertext()).replace("\N{NO-BREAK SPACE}", " ")
    (bar,) = [line for line in lines.values() if "\N{FULL BLOCK}" in line]
    assert "temporarily unavailable" in bar
    assert "1200" in bar
    (session,) = [line for line in lines.values() if "1234567" in line]
    assert "98.76 kWh" in session
    assert "149.9 kW" in session
    assert ("78 %" in session) is (width >= WIDE)
