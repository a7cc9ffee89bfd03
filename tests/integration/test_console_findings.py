"""The pages of findings and completeness: what is wrong, where, what to do, and what arrived."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest

from tests.support.console import RunningConsole, serving_console
from tests.support.page_text import words
from tests.support.service import Service
from tests.support.uptime import EVSE, LOCATION, TENANT, follow_evse


@pytest.fixture
def console(service: Service) -> Iterator[RunningConsole]:
    with serving_console(service.settings) as running:
        yield running


def test_findings_say_what_is_wrong_where_and_what_to_do(service: Service, console: RunningConsole) -> None:
    follow_evse(service, name="Forest <Road>")
    rules = {row["rule"] for row in service.query("SELECT rule FROM analytics.finding")}
    assert rules == {"no_position", "outage_differs"}
    page = console.looker.get(f"/findings?tenant={TENANT}").text
    assert "Set the position at AMPECO, so that the location appears on maps" in words(page)
    assert f'href="/tenants/{TENANT}/locations/{LOCATION}"' in page
    assert f'href="/tenants/{TENANT}/evses/{EVSE}"' in page
    assert "Forest <Road>" in words(page)
    for query, kinds in (
        ("kind=location", {"locations"}),
        ("severity=medium", {"evses"}),
        ("rule=no_position", {"locations"}),
        ("rule=no_position&kind=evse", set()),
        ("state=resolved", set()),
        ("rule=nonsense&severity=%00&before=-1", {"locations", "evses"}),
    ):
        page = console.looker.get(f"/findings?tenant={TENANT}&{query}").text
        linked = re.findall(rf'href="/tenants/{TENANT}/(\w+)/[0-9]+"', page)
        assert set(linked) == kinds, query


def test_a_long_list_of_findings_is_read_part_by_part(service: Service, console: RunningConsole) -> None:
    statement = """
        INSERT INTO analytics.finding
        SELECT 'demo', 'session_open', 'session', id, '-infinity', 'infinity', 'medium', '{"energy_wh": null}', now(),
               NULL, id, now()
          FROM generate_series(1, 120) AS id"""
    with service.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    seen: list[str] = []
    address: str | None = f"/findings?tenant={TENANT}"
    while address:
        page = console.looker.get(address).text
        seen += re.findall(rf'href="/tenants/{TENANT}/sessions/([0-9]+)"', page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        address = html.unescape(following[1]) if following else None
    assert seen == [str(number) for number in range(120, 0, -1)]


def test_completeness_shows_days_and_what_sync_runs_found(service: Service, console: RunningConsole) -> None:
    empty = words(console.looker.get(f"/completeness?tenant={TENANT}").text)
    assert "Nothing of demo was derived yet." in empty
    assert "Nothing was compared with AMPECO in this time." in words(console.looker.get("/completeness/kinds").text)
    follow_evse(service)
    statement = """
        INSERT INTO ingest.sync_run (tenant, sync_run_id, kind, purpose, compared, missing, stale, healed, moved_at, finished_at)
        VALUES ('demo', gen_random_uuid(), 'session', 'reconcile', 200, 1, 2, 3, now(), now())"""
    with service.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    page = words(console.looker.get(f"/completeness?tenant={TENANT}&span=month").text)
    (today,) = service.query("SELECT CAST(now() AT TIME ZONE 'UTC' AS date) AS day")
    assert f"{today['day']} 6 6 0 0 0 3 3" in page
    assert re.search(r"Findings of everything derived until \d", page)
    kinds = words(console.looker.get(f"/completeness/kinds?tenant={TENANT}").text)
    assert "Of 200 entities compared, 98.50 % were as AMPECO shows them; 3 were missing or stale" in kinds
    assert "ampeco-receiver completeness --tenant demo --days 7" in kinds
