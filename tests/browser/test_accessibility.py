"""Each page of the console can be used by everybody: axe finds nothing, in light and in dark."""

from __future__ import annotations

from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.support.console_pages import PAGES, store_for_pages
from tests.support.tenant import Tenant


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(page: Page, fleet: Tenant, scheme: Literal["light", "dark"]) -> None:
    store_for_pages(fleet.service)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    found = {}
    for path in (*PAGES.values(), "/sign-in"):
        page.goto(path)
        results = Axe().run(page)
        if results.violations_count:
            found[path] = [
                (violation["id"], [node["target"] for node in violation["nodes"]][:3])
                for violation in results.response["violations"]
            ]
    assert found == {}
