"""The charts of the console in a browser."""

from __future__ import annotations

from playwright.sync_api import Page
from sqlalchemy import text

from tests.support.analytics import derive
from tests.support.tenant import Tenant

#: How many hours the axis of each chart shows.
HOURS = """() => [...document.querySelectorAll(".plot")]
  .map(({ plot }) => (plot.scales.x.max - plot.scales.x.min) / 3600)"""


def test_the_axis_of_a_chart_is_the_chosen_time_from_the_first_minute_on(page: Page, fleet: Tenant) -> None:
    with fleet.service.engine.begin() as connection:
        connection.execute(text("DELETE FROM ingest.uptime"))
        connection.execute(text("INSERT INTO ingest.uptime VALUES (now() - interval '1 minute', now())"))
        connection.execute(
            text("""
            INSERT INTO ingest.minute
            VALUES ('demo', date_trunc('minute', now()) - interval '1 minute', 60, 2, 14, 20, 900, 3, 12, 250)
        """)
        )
        connection.execute(
            text("""
            INSERT INTO ingest.sync_run
                   (tenant, sync_run_id, kind, purpose, compared, missing, stale, healed, moved_at, finished_at)
            VALUES ('demo', gen_random_uuid(), 'session', 'reconcile', 200, 1, 2, 3, now(), now())
        """)
        )
    derive(fleet.service.engine, "demo")
    spans = {"/": {"hour": 1, "day": 24, "week": 168}, "/completeness": {"week": 7 * 24, "month": 31 * 24}}
    charts = {"/": 4, "/completeness": 2}
    for path, hours_of in spans.items():
        for span, hours in hours_of.items():
            page.goto(f"{path}?tenant=demo&span={span}")
            assert [round(each) for each in page.evaluate(HOURS)] == [hours] * charts[path], (path, span)

    plot = page.locator(".u-over").first
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 10, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.up()
    assert page.evaluate(HOURS)[0] < hours / 2 + 1
    plot.dblclick()
    assert round(page.evaluate(HOURS)[0]) == hours
