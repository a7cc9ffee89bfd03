"""The pages of the console on a small and on a large screen: words stay whole, and nothing is cut or overlaps."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any

from playwright.sync_api import Page
from sqlalchemy import text

from tests.support.analytics import derive, fact, write
from tests.support.console import SESSION_ID
from tests.support.console_fleet import EVSE, observe
from tests.support.console_pages import PAGES, store_for_pages
from tests.support.tenant import Tenant

#: The widths of a phone and of a usual screen, in pixels.
SMALL, LARGE = 400, 1400

#: Where the pages' words are, and which of them are in more than one line. What only machines read may be broken.
BROKEN_WORDS = """() => {
  const broken = [];
  const isForMachines = (token) => token.length >= 32 || token.includes("://");
  const nodes = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
    if (node.parentElement.closest("pre, code, svg, script")) continue;
    for (const token of node.data.matchAll(/\\S+/g)) {
      if (isForMachines(token[0])) continue;
      for (const word of token[0].matchAll(/[\\p{L}\\p{N}_.,:]+/gu)) {
        const range = document.createRange();
        range.setStart(node, token.index + word.index);
        range.setEnd(node, token.index + word.index + word[0].length);
        const lines = new Set([...range.getClientRects()].map((rect) => Math.round(rect.top)));
        if (lines.size > 1) broken.push(word[0]);
      }
    }
  }
  return [...new Set(broken)];
}"""

#: Headings and titles of charts with a text of another element on top of them.
OVERLAPS = """() => {
  const texts = [];
  const nodes = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
    if (!node.data.trim() || node.parentElement.closest("svg, pre")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) texts.push({ node, rect });
  }
  const overlaps = (one, other) => one.left < other.right - 1 && other.left < one.right - 1
    && one.top < other.bottom - 2 && other.top < one.bottom - 2;
  const found = [];
  for (const title of document.querySelectorAll("main :is(h1, h2, h3, h4, figcaption, summary)")) {
    for (const own of texts.filter(({ node }) => title.contains(node))) {
      for (const other of texts.filter(({ node }) => !title.contains(node))) {
        if (overlaps(own.rect, other.rect)) found.push(`${title.textContent.trim()} / ${other.node.data.trim()}`);
      }
    }
  }
  return [...new Set(found)];
}"""

#: Elements that reach beyond the window, or beyond the frame around them, without a container that scrolls.
TOO_WIDE = """() => {
  const found = [];
  if (document.documentElement.scrollWidth > innerWidth) found.push(`the page: ${document.documentElement.scrollWidth}`);
  for (const element of document.querySelectorAll("body *")) {
    if (element.closest("svg, .scroll > *, pre, .skip, .u-wrap, option, datalist")) continue;
    const edge = element.parentElement.closest("section, .card")?.getBoundingClientRect().right ?? innerWidth;
    const { right, width } = element.getBoundingClientRect();
    if (width && right > Math.min(edge, innerWidth) + 1) found.push(`${element.tagName}.${element.className}: ${right}`);
  }
  return found;
}"""

#: The tables that are wider than their containers.
CUT_TABLES = """() => [...document.querySelectorAll(".scroll")]
  .filter((each) => each.scrollWidth > each.clientWidth + 1)
  .map((each) => `${each.getAttribute("aria-label")}: ${each.scrollWidth} of ${each.clientWidth}`)"""


def store(fleet: Tenant) -> list[str]:
    """Store what fills the pages; return an address of each page, and further ones of those that show more."""
    fleet.live(minutes=90)
    fleet.deliver(1, Random(1), in_order=True)
    fleet.service.apply()
    fleet.sync_run(full=True, kinds=("location", "charge_point", "evse", "session"))
    fleet.refresh()
    engine = fleet.service.engine
    store_for_pages(fleet.service)
    for number, status in enumerate(("available", "charging", "faulted", "available")):
        observe(engine, 400 - 100 * number, evse=(EVSE, status))
    price = {"withTax": 16.05, "withoutTax": 13.38}
    parts = [
        {"type": kind, "quantity": 12.345, "unit": "kWh", "unitPrice": 1.3, "price": price, "currency": "EUR"}
        for kind in ("energy", "parking_time")
    ]
    write(
        engine,
        fact(
            "session",
            SESSION_ID,
            40,
            "price",
            price_breakdown=parts,
            amount_with_tax=Decimal("32.10"),
            currency="EUR",
        ),
        tenant="demo",
    )
    derive(engine, "demo")
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO ingest.minute
                SELECT 'demo', date_trunc('minute', now()) - number * interval '1 minute', 60, 2, 14, 20, 900, 3, 12, 250
                  FROM generate_series(1, 20) AS number
            """)
        )
        found = connection.execute(
            text("""
                SELECT (SELECT max(location_id) FROM analytics.location WHERE location_id % 3 = 0) AS location,
                       (SELECT evse_id FROM analytics.evse_state_interval GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1) AS evse,
                       (SELECT session_id FROM charging.meter_value GROUP BY 1 ORDER BY count(*) DESC LIMIT 1) AS session
            """)
        ).one()
    return [
        *PAGES.values(),
        "/?tenant=demo",
        "/fleet?tenant=demo",
        "/sessions?tenant=demo",
        "/notifications?tenant=demo",
        f"/tenants/demo/locations/{found.location}",
        f"/tenants/demo/evses/{found.evse}",
        f"/tenants/demo/sessions/{found.session}",
        f"/tenants/demo/why/session/{found.session}",
    ]


def visited(page: Page, paths: list[str]) -> Iterator[tuple[str, int]]:
    """Open each page, and show it on each screen."""
    for path in paths:
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        for width in (SMALL, LARGE):
            page.set_viewport_size({"width": width, "height": 900})
            yield path, width


def test_on_every_screen_words_are_whole_and_nothing_overlaps_or_is_cut(page: Page, fleet: Tenant) -> None:
    found: dict[tuple[str, int, str], Any] = {}
    for path, width in visited(page, store(fleet)):
        for what, script in (("broken", BROKEN_WORDS), ("overlaps", OVERLAPS), ("too wide", TOO_WIDE)):
            found[path, width, what] = page.evaluate(script)
        if width == LARGE:
            found[path, width, "cut"] = page.evaluate(CUT_TABLES)
    assert {key: value for key, value in found.items() if value} == {}
