"""The page *Now* in a browser."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.support.tenant import Tenant


def test_what_arrives_is_shown_without_reloading(page: Page, fleet: Tenant) -> None:
    expect(page.get_by_role("heading", name="Now")).to_be_visible()
    row = page.get_by_role("row", name="demo")
    expect(row.get_by_role("cell").nth(3)).to_have_text("0")
    fleet.live(minutes=30)
    count = len(fleet.under_way)
    for body in list(fleet.under_way):
        fleet._send(body)
    expect(row.get_by_role("cell").nth(3)).to_have_text(f"{count:,}", timeout=15_000)
