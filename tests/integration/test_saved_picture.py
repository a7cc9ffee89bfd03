"""The demo can save its view as a picture for a page."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from receiver.demo.dashboard import LiveView


# storage.reports.demo_view calls Result.tuples(), which SQLAlchemy 2.1 deprecates.
@pytest.mark.filterwarnings("ignore:The Result.tuples")
def test_the_saved_view_is_a_picture_that_shows_the_tenant_and_loads_nothing(database_url: str, tmp_path: Path) -> None:
    with LiveView("harbour", database_url) as view:
        view.save(tmp_path / "view.svg")
    text = (tmp_path / "view.svg").read_text(encoding="utf-8")
    picture = ElementTree.fromstring(text)
    assert picture.tag.endswith("}svg")
    shown = "".join(picture.itertext()).replace("\N{NO-BREAK SPACE}", " ")
    assert "harbour" in shown
    assert "Ctrl-C stops everything." in shown
    assert "url(http" not in text.replace('url("http', "url(http")
