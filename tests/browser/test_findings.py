"""The pages of findings and completeness in a browser."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.support.tenant import Tenant
from tests.support.uptime import TENANT, follow_evse

NAME = "Forest Road"


def test_findings_lead_to_what_is_wrong_and_completeness_shows_its_sync_runs(page: Page, fleet: Tenant) -> None:
    follow_evse(fleet.service, name=NAME)
    page.get_by_role("link", name="Findings").click()
    page.get_by_label("Severity").select_option("low")
    page.get_by_role("button", name="Show").click()
    link = page.get_by_role("link", name=NAME)
    assert (link.get_attribute("href") or "").startswith(f"/tenants/{TENANT}/locations/")
    page.get_by_role("link", name="Completeness").click()
    expect(page.get_by_role("img", name="Notifications received")).to_be_visible()
    expect(page.get_by_text("ampeco-receiver completeness --tenant demo --days 7")).to_be_visible()
