"""The pages of sessions in a browser."""

from __future__ import annotations

import re
from random import Random

from playwright.sync_api import Page, expect

from tests.support.analytics import derive
from tests.support.console import store_session
from tests.support.tenant import Tenant

#: How many pixels of a canvas have a colour.
DRAWN = """canvas => {
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.filter((value, index) => index % 4 === 3 && value > 0).length;
}"""


def test_a_session_is_followed_from_the_list_to_its_curve(page: Page, fleet: Tenant) -> None:
    fleet.live(minutes=90)
    fleet.deliver(1, Random(1), in_order=True)
    fleet.service.apply()
    fleet.sync_run(full=True)
    fleet.settle()
    derive(fleet.service.engine, "demo")
    (session,) = fleet.service.query("""
        SELECT session_id
          FROM charging.meter_value
         WHERE measurand = 'Power Active Import'
         GROUP BY session_id
         ORDER BY count(*) DESC, session_id
         LIMIT 1
    """)
    page.get_by_role("link", name="Sessions", exact=True).click()
    page.get_by_role("link", name=str(session["session_id"]), exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Session {session['session_id']}")
    for title in ("Power", "Energy since the start", "State of charge", "Energy by quarter of an hour"):
        plot = page.get_by_role("img", name=re.compile(f"^{title}:"))
        expect(plot).to_be_visible()
        assert plot.locator("canvas").evaluate(DRAWN) > 200, title
    page.get_by_role("link", name="draw it").first.click()
    expect(page.get_by_role("figure")).to_have_count(5)
    page.get_by_role("link", name="Why is it so?").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Why: session {session['session_id']}")


def test_a_session_that_starts_appears_without_reloading(page: Page, fleet: Tenant) -> None:
    page.goto("/sessions?tenant=demo")
    expect(page.get_by_role("heading", name="Running: 0")).to_be_visible()
    store_session(fleet.service.engine, 990_002, status="active", stopped_at=None)
    expect(page.get_by_role("heading", name="Running: 1")).to_be_visible(timeout=15_000)
    page.get_by_role("link", name="990002").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("running")
