"""The pages of the fleet in a browser: what changes on an open page, and the map."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from tests.support.console_fleet import observe, write_site
from tests.support.tenant import Tenant


@pytest.fixture
def engine(fleet: Tenant) -> Engine:
    """Two sites in one city, and one far away; an EVSE of the first charges."""
    made = fleet.service.engine
    write_site(made, evse_ids=(711, 712), latitude=43.21, longitude=27.91)
    write_site(made, location_id=8, charge_point_id=81, evse_ids=(811,), name="Mill", latitude=43.25, longitude=27.97)
    write_site(made, location_id=9, charge_point_id=91, evse_ids=(911,), name="Fjord", latitude=60.4, longitude=5.3)
    for charge_point_id in (71, 81, 91):
        observe(made, 600, network=(charge_point_id, "available"))
    for evse_id in (711, 712, 811, 911):
        observe(made, 500, evse=(evse_id, "available"))
    observe(made, 60, evse=(712, "charging"))
    return made


def test_an_evse_changes_on_an_open_page(page: Page, engine: Engine) -> None:
    page.goto("/fleet?tenant=demo&q=harbour")
    state, ribbon = page.locator("#state-demo-712"), page.locator("#ribbon-demo-712-1")
    expect(state).to_contain_text("charging")
    page.evaluate("window.isThisPage = true")
    observe(engine, 0, evse=(712, "faulted"))
    expect(state).to_contain_text("faulted", timeout=15_000)
    expect(ribbon.locator("rect[data-present]")).to_have_attribute("fill", "url(#ribbon-faulted)")
    expect(page.locator("#count-demo-faulted")).to_have_text("1")
    expect(page.locator("#count-demo-charging")).to_have_text("0")
    expect(page.locator("#state-demo-711")).to_contain_text("available")
    assert page.evaluate("window.isThisPage"), "the page was loaded again"


def test_the_state_of_an_evse_changes_on_its_own_page(page: Page, engine: Engine) -> None:
    page.goto("/tenants/demo/evses/712")
    expect(page.locator("#state-demo-712")).to_contain_text("charging")
    observe(engine, 0, evse=(712, "faulted"))
    expect(page.locator("#state-demo-712")).to_contain_text("faulted", timeout=15_000)
    present = page.locator("#ribbon-demo-712-1 rect[data-present]")
    expect(present).to_have_attribute("fill", "url(#ribbon-faulted)")


@pytest.mark.usefixtures("engine")
def test_near_locations_are_one_marker_until_the_map_is_zoomed_to_them(page: Page) -> None:
    page.goto("/fleet/map?tenant=demo")
    cluster = page.get_by_role("button", name="2 locations: 2 available, 1 charging").or_(
        page.get_by_role("button", name="2 locations: 1 charging, 2 available")
    )
    expect(cluster).to_be_visible()
    expect(page.locator("svg.map").get_by_role("link", name="Fjord location: 1 available")).to_be_visible()
    cluster.click()
    expect(cluster).to_be_hidden()
    page.locator("svg.map").get_by_role("link", name="Mill location: 1 available").click()
    expect(page.get_by_role("heading", name="Mill location")).to_be_visible()


@pytest.mark.usefixtures("engine")
def test_the_map_is_used_by_keyboard_wheel_buttons_and_dragging(page: Page) -> None:
    page.goto("/fleet/map?tenant=demo")
    world = page.locator("svg.map [data-world]")
    page.locator("svg.map").focus()
    place = world.get_attribute("transform")
    for key in ("ArrowLeft", "ArrowUp", "+", "-", "0"):
        page.keyboard.press(key)
        expect(world).not_to_have_attribute("transform", place or "")
        place = world.get_attribute("transform")
    page.get_by_role("button", name="Zoom in").click()
    expect(world).not_to_have_attribute("transform", place or "")
    page.get_by_role("button", name="All locations").click()
    expect(world).to_have_attribute("transform", place or "")
    page.locator("svg.map").scroll_into_view_if_needed()
    box = page.locator("svg.map").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.mouse.wheel(0, -300)
    expect(world).not_to_have_attribute("transform", place or "")
    place = world.get_attribute("transform")
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 90, steps=4)
    page.mouse.up()
    expect(world).not_to_have_attribute("transform", place or "")


@pytest.mark.usefixtures("engine")
def test_a_marker_opens_by_keyboard(page: Page) -> None:
    page.goto("/fleet/map?tenant=demo")
    page.get_by_role("button", name=re.compile("^2 locations")).focus()
    page.keyboard.press("Enter")
    link = page.locator("svg.map").get_by_role("link", name=re.compile("^Harbour location"))
    expect(link).to_be_visible()
    link.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Harbour location")).to_be_visible()


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_pages_of_the_fleet(page: Page, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)
    found = {}
    for path in (
        "/fleet?tenant=demo",
        "/fleet/map?tenant=demo",
        "/tenants/demo/locations/7",
        "/tenants/demo/charge-points/71",
        "/tenants/demo/evses/712",
    ):
        page.goto(path)
        page.wait_for_selector("h1")
        results = Axe().run(page)
        if results.violations_count:
            found[path] = results.generate_report()
    assert found == {}
