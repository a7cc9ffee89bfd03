"""The pages of uptime in a browser."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.support.analytics import derive
from tests.support.tenant import Tenant
from tests.support.uptime import EVSE, MONTH, TENANT, follow_evse

NAME = "Forest Road"


def test_a_figure_is_traced_to_its_evidence_and_an_exclusion_changes_it(page: Page, fleet: Tenant) -> None:
    follow_evse(fleet.service, name=NAME)
    page.get_by_role("link", name="Uptime").click()
    page.get_by_label("Month", exact=True).fill(MONTH)
    page.get_by_label("Location, name or id").fill("forest")
    page.get_by_role("button", name="Show").click()
    row = page.get_by_role("row", name=NAME)
    expect(row).to_contain_text("99.703 %")
    expect(page.get_by_text("1 EVSE and")).to_be_visible()  # of the network, which is added up after the page is shown

    row.get_by_role("link", name=NAME).first.click()
    expect(page.get_by_text("100 × (31,536,000 − (93,600 − 0)) / 31,536,000 = 99.703 %")).to_be_visible()
    fault = page.get_by_role("article").filter(has_text="GroundFailure")
    expect(fault).to_contain_text("7,200 s count in this month")
    word = fault.get_by_role("listitem").filter(has_text=re.compile(r"^\s*evse: faulted"))
    address = word.get_by_role("link", name="notification").get_attribute("href")
    assert address is not None
    (notification,) = fleet.service.query(
        "SELECT notification_type FROM ingest.notification WHERE notification_id = :id", id=address.rpartition("/")[2]
    )
    assert notification["notification_type"] == "HardwareStatusNotification"

    fault.get_by_role("link", name="Let it out").click()
    expect(page.get_by_label("From")).to_have_value("2026-03-04T08:00:00+00:00")
    page.get_by_label("To", exact=True).fill("2026-03-04T11:00+02:00")
    page.get_by_label("Reason").fill("vandalism")
    page.get_by_label("Evidence").fill("report 4711")
    page.get_by_role("button", name="Enter").click()
    expect(page.get_by_role("status")).to_contain_text("Entry 1 is stored.")
    entry = page.get_by_role("row").filter(has_text="report 4711")
    expect(entry).to_contain_text(f"evse {EVSE}")
    entry.get_by_text("On the command line").click()
    expect(entry).to_contain_text(
        re.compile("ampeco-receiver exclude --tenant demo --evse 902 --from 2026-03-04T08:00")
    )

    derive(fleet.service.engine, TENANT)
    page.reload()
    expect(page.get_by_text("100 × (31,536,000 − (93,600 − 3,600)) / 31,536,000 = 99.715 %")).to_be_visible()
    page.get_by_role("button", name="Withdraw entry 1").click()
    expect(page.get_by_role("status")).to_contain_text("Entry 1 is withdrawn.")
