"""The pages of sessions: lists by filter, the live part, and one session with its curves and what is behind it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from receiver.console import session_timeline
from receiver.console.pages import sessions as sessions_page
from storage.reports import sessions as reports
from tests.support.analytics import at, derive, fact, gone, session_facts, write
from tests.support.console import RunningConsole, serving_console, store_session
from tests.support.service import Service
from tests.support.tenant import tenant


@pytest.fixture
def console(service: Service) -> Iterator[RunningConsole]:
    with serving_console(service.settings) as running:
        yield running


def listed(console: RunningConsole, query: str = "") -> list[int]:
    """Return the ids of the sessions in the list of a page, in its order."""
    answer = console.looker.get(f"/sessions?tenant=demo&{query}")
    assert answer.status_code == 200
    return ids_of(answer)


def ids_of(answer: httpx.Response) -> list[int]:
    rows = re.findall(r'<th scope="row"><a href="/tenants/demo/sessions/(\d+)"', answer.text)
    return [int(row) for row in rows]


def all_pages(console: RunningConsole, query: str = "") -> list[int]:
    """Follow the links to the next page from a list to its end, and return the ids of all sessions."""
    ids: list[int] = []
    path: str | None = f"/sessions?tenant=demo&{query}"
    while path:
        assert len(ids) < 100, "the pages have no end"
        answer = console.looker.get(path)
        ids += ids_of(answer)
        following = re.search(r'<a href="([^"]+)" rel="next">', answer.text)
        path = html.unescape(following[1]) if following else None
    return ids


def charts(answer: httpx.Response) -> dict[str, Any]:
    """Return the data of the charts of a page by their titles."""
    plots = re.findall(r'aria-label="([^":]*):[^"]*" data-chart="([^"]*)"', answer.text)
    return {html.unescape(title): json.loads(html.unescape(data)) for title, data in plots}


def store_several(service: Service) -> None:
    """Store sessions 1 to 8 of two EVSEs, each an hour after the one before; every fourth one is empty."""
    site = [
        fact("location", 57, -600, name="Harbour", timezone="Europe/Berlin"),
        fact("charge_point", 418, -600, name="Berth", location_id=57),
        fact("evse", 901, -600, charge_point_id=418, label="A"),
    ]
    write(service.engine, *site, tenant="demo")
    for number in range(1, 9):
        store_session(
            service.engine,
            number,
            started_at=at(60 * number),
            stopped_at=at(60 * number + 30),
            energy_wh=Decimal(0 if number % 4 == 0 else 1_000 * number),
            evse_id=901 if number % 2 else 902,
            charge_point_id=418 if number % 2 else None,
            amount_with_tax=Decimal(number),
            currency="EUR" if number < 7 else "SEK",
        )


def test_running_sessions_stand_above_those_that_ended(console: RunningConsole, service: Service) -> None:
    store_session(service.engine, 1)
    store_session(service.engine, 2, status="active", stopped_at=None)
    page = console.looker.get("/sessions?tenant=demo")
    assert "Running: 1" in page.text
    assert ids_of(page) == [2, 1]
    assert page.text.index("sessions/2") < page.text.index("Ended") < page.text.index("sessions/1")
    assert listed(console, "state=running") == [2]
    assert listed(console, "state=ended") == [1]


def test_a_filter_leaves_those_that_match_the_latest_first(console: RunningConsole, service: Service) -> None:
    store_several(service)
    day = at(0).date()
    assert listed(console) == [8, 7, 6, 5, 4, 3, 2, 1]
    assert listed(console, "outcome=empty") == [8, 4]
    assert listed(console, "evse=902") == [8, 6, 4, 2]
    assert listed(console, "charge_point=418") == [7, 5, 3, 1]
    assert listed(console, "location=57&min_kwh=4.5") == [7, 5]
    assert listed(console, f"from={day}&to={day}") == [8, 7, 6, 5, 4, 3, 2, 1]
    assert listed(console, f"from={day + timedelta(days=1)}") == []
    assert listed(console, f"to={day - timedelta(days=1)}") == []


def test_pages_of_a_list_show_each_session_once(
    console: RunningConsole, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_several(service)
    for number in (9, 10, 11):  # they start together, so that the id alone orders them
        store_session(service.engine, number)
    monkeypatch.setattr(sessions_page, "PAGE_SIZE", 2)
    assert all_pages(console, "state=ended") == [8, 7, 6, 5, 4, 3, 2, 1, 11, 10, 9]


def test_a_search_that_looks_at_few_sessions_a_page_finds_all_of_them(
    console: RunningConsole, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_several(service)
    for limit in (1, 2, 3, 4):
        monkeypatch.setattr(reports, "MAX_SCANNED", limit)
        assert all_pages(console, "outcome=empty") == [8, 4], limit
        assert all_pages(console, "min_kwh=5") == [7, 6, 5], limit
        assert all_pages(console, "min_kwh=0") == [8, 7, 6, 5, 4, 3, 2, 1], limit  # 8 and 4 have 0 Wh
    assert "Looked through the sessions back to" in console.looker.get("/sessions?outcome=empty").text


def test_a_value_that_is_no_filter_is_said_and_left_out(console: RunningConsole, service: Service) -> None:
    store_several(service)
    wrong = "outcome=%27&location=%00&evse=1e3&charge_point=99999999999999999999&from=yesterday&min_kwh=NaN&before=x~y"
    page = console.looker.get(f"/sessions?{wrong}")
    assert page.status_code == 200
    assert ids_of(page) == [8, 7, 6, 5, 4, 3, 2, 1]
    for name in ("outcome", "location", "evse", "charge_point", "from", "min_kwh"):
        assert f"The filter “{name}” is left out" in page.text


def test_sessions_without_a_start_have_a_list_of_their_own(
    console: RunningConsole, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_session(service.engine, 1)
    assert "no start is known" not in console.looker.get("/sessions?tenant=demo").text
    for number in (2, 3, 4):
        store_session(service.engine, number, started_at=None)
    monkeypatch.setattr(sessions_page, "PAGE_SIZE", 2)
    assert listed(console) == [1]
    assert "no start is known" in console.looker.get("/sessions?tenant=demo").text
    assert all_pages(console, "state=undated") == [4, 3, 2]


def test_totals_are_of_what_is_known(console: RunningConsole, service: Service) -> None:
    store_several(service)
    store_session(service.engine, 9, energy_wh=None)
    foot = re.search(r"<tfoot>.*</tfoot>", console.looker.get("/sessions?tenant=demo").text, re.S)
    assert foot is not None
    for shown in ("These 9", "24.00 kWh", "1 unknown", "21.00 EUR", "15.00 SEK", "1 without a price"):
        assert shown in foot[0]


def test_another_tenants_sessions_are_not_shown(console: RunningConsole, service: Service) -> None:
    store_session(service.engine, 1)
    assert ids_of(console.looker.get("/sessions?tenant=other")) == []
    assert console.looker.get("/tenants/other/sessions/1").status_code == 404


def test_a_session_that_is_not_known_is_said_to_be_unknown(console: RunningConsole, service: Service) -> None:
    write(service.engine, *session_facts(1, status="active", started_at=at(0)), tenant="demo")
    stored, unknown = (console.looker.get(f"/tenants/demo/sessions/{number}") for number in (1, 2))
    assert (stored.status_code, unknown.status_code) == (404, 404)
    assert "nothing has been derived of it yet" in stored.text
    assert "No notification and no read has named it" in unknown.text
    assert console.looker.get("/tenants/demo/sessions/99999999999999999999").status_code == 404


def sample(minutes: float, measurand: str, value: float, unit: str | None = None, **more: Any) -> dict[str, Any]:
    row = {"session_id": 1, "measured_at": at(minutes), "measurand": measurand, "ordinal": 0, "unit": unit}
    columns = dict.fromkeys(("location", "evse_id", "charge_point_id", "notification_id"))
    return columns | row | {"value": Decimal(str(value))} | more


def test_curves_show_the_samples_of_the_meter(console: RunningConsole, service: Service) -> None:
    store_session(service.engine, 1, meter_start_wh=Decimal(5_000), meter_stop_wh=Decimal(17_000))
    samples = [
        *(sample(minute, "Power Active Import", 22_000 + minute) for minute in (5, 10)),
        *(sample(minute, "Energy.Active.Import.Register", 5 + minute / 10, "kWh") for minute in (5, 10)),
        *(sample(5, "Current Import", 30 + phase, "A", ordinal=phase) for phase in range(3)),
        sample(5, "State Of Charge", 20, "Percent"),
        sample(500, "State Of Charge", 99, "Percent"),  # long after its end
        sample(6, "<script>alert(1)</script>", 1),
    ]
    write(service.engine, observations={"meter_value": samples}, tenant="demo")
    derive(service.engine, "demo")
    page = console.looker.get("/tenants/demo/sessions/1")
    shown = charts(page)
    times = [at(5).timestamp(), at(10).timestamp()]
    assert shown["Power"]["times"] == times
    assert shown["Power"]["series"][0]["values"] == [22.005, 22.01]
    assert shown["Energy since the start"]["series"][0]["values"] == [0.5, 1.0]
    assert shown["State of charge"]["series"][0]["values"] == [20]
    assert sum(shown["Energy by quarter of an hour"]["series"][0]["values"][:-1]) == 12
    assert "<script>alert" not in page.text
    drawn = charts(console.looker.get("/tenants/demo/sessions/1?draw=Current+Import"))["Current Import"]
    assert [series["values"] for series in drawn["series"]] == [[30], [31], [32]]


def test_a_session_without_samples_shows_what_would_fill_its_curves(console: RunningConsole, service: Service) -> None:
    store_session(service.engine, 1)
    assert "No meter value of this session has arrived" in console.looker.get("/tenants/demo/sessions/1").text
    point = {"session_id": 1, "measured_at": at(10), "energy_wh": Decimal(4_000), "power_w": Decimal(24_000)}
    write(service.engine, observations={"consumption_point": [point]}, tenant="demo")
    page = console.looker.get("/tenants/demo/sessions/1")
    assert charts(page)["Power"]["series"][0]["values"] == [24]
    assert "consumption statistics" in page.text


def test_a_price_is_shown_with_its_parts_and_whether_they_add_up(console: RunningConsole, service: Service) -> None:
    store_session(service.engine, 1, amount_with_tax=Decimal("6.25"), currency="EUR")
    parts: list[Any] = [{"type": "energy", "quantity": 13.881, "unit": "kwh", "price": {"withTax": 6.25}}]
    write(service.engine, fact("session", 1, 40, "price", price_breakdown=parts), tenant="demo")
    page = console.looker.get("/tenants/demo/sessions/1").text
    assert "6.25 EUR" in page
    assert "13.881 kwh" in page
    assert "The parts add up to the price" in page
    parts += [{"type": ["no", "text"], "price": "free", "quantity": None}, 7, {"totalPrice": 1, "price": {}}]
    write(service.engine, fact("session", 1, 41, "price", price_breakdown=parts[:1] + parts[3:]), tenant="demo")
    assert "The parts add up to 7.25 EUR, the price is 6.25 EUR" in console.looker.get("/tenants/demo/sessions/1").text
    write(service.engine, fact("session", 1, 42, "price", price_breakdown=parts), tenant="demo")
    assert "The parts add up" not in console.looker.get("/tenants/demo/sessions/1").text
    write(service.engine, fact("session", 1, 43, "price", price_breakdown=parts[:1]), tenant="demo")
    write(service.engine, fact("session", 1, 60, "detail", amount_with_tax=8, currency="EUR"), tenant="demo")
    derive(service.engine, "demo")
    assert "The parts are older than the price" in console.looker.get("/tenants/demo/sessions/1").text


def test_a_session_shows_no_more_of_its_driver_than_the_contract(console: RunningConsole, service: Service) -> None:
    person = {"user_id": 770_315_902, "id_tag": "04A1B2C3D4", "payment_method_id": "pm-hidden"}
    store_session(service.engine, 1, **person)
    later = {"user_id": 770_315_903, "id_tag": "04FFFFFFFF", "payment_method_id": "pm-later"}
    write(service.engine, fact("session", 1, 60, "detail", **later), tenant="demo")
    derive(service.engine, "demo")
    page = console.looker.get("/tenants/demo/sessions/1").text
    (row,) = service.query("SELECT driver_key FROM analytics.session WHERE tenant = 'demo'")
    assert row["driver_key"] in page
    assert "it names a person" in page
    for value in (*person.values(), *later.values()):
        assert str(value) not in page


def test_what_a_correction_changed_is_shown(console: RunningConsole, service: Service) -> None:
    store_session(service.engine, 1, billing_status="pending")
    write(service.engine, fact("session", 1, 60, "detail", billing_status="completed"), tenant="demo")
    derive(service.engine, "demo")
    page = console.looker.get("/tenants/demo/sessions/1").text
    corrections = page[page.index("Corrections after its end") :]
    assert '<td>billing status</td><td class="any">pending</td><td class="any">completed</td>' in corrections


def test_names_from_the_fleet_are_text(console: RunningConsole, service: Service) -> None:
    hostile = "<script>alert(1)</script>\u202egnp" + "x" * 10_000
    site = [
        fact("location", 57, -60, name=hostile, timezone="Europe/Berlin"),
        fact("charge_point", 418, -60, name=hostile, location_id=57),
        fact("evse", 901, -60, charge_point_id=418, label=hostile),
    ]
    write(service.engine, *site, tenant="demo")
    for number, stopped_at in ((1, None), (2, at(30))):
        store_session(
            service.engine,
            number,
            status=hostile,
            stop_reason=hostile,
            stopped_at=stopped_at,
            evse_id=901,
            charge_point_id=418,
        )
    for path in (
        "/sessions",
        "/sessions?state=all&min_kwh=0",
        "/tenants/demo/sessions/2",
        "/tenants/demo/why/evse/901",
    ):
        page = console.looker.get(path)
        assert page.status_code == 200
        assert "&lt;script&gt;" in page.text
        assert "<script>alert" not in page.text


def test_a_removed_session_is_marked(console: RunningConsole, service: Service) -> None:
    store_session(service.engine, 1)
    write(service.engine, gone("session", 1, 60), tenant="demo")
    derive(service.engine, "demo")
    for path in ("/sessions", "/tenants/demo/sessions/1"):
        assert "removed at AMPECO" in console.looker.get(path).text


def test_the_timeline_links_every_notification_that_names_the_session(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = datetime(2026, 3, 4, 8, tzinfo=UTC)
    with tenant(database_url, redis_url, tmp_path, start=start) as fleet:
        fleet.live(minutes=90)
        fleet.deliver(1, Random(1), in_order=True)
        fleet.settle()
        fleet.sync_run(full=True, kinds=["session"])
        derive(fleet.service.engine, "demo")
        (session,) = fleet.service.query("""
            SELECT session_id, array_agg(CAST(notification_id AS text) ORDER BY received_at) AS notifications
              FROM ingest.notification
             WHERE session_id IS NOT NULL
             GROUP BY session_id
             ORDER BY count(*) DESC
             LIMIT 1
        """)
        with serving_console(fleet.service.settings) as console:
            path = f"/tenants/demo/sessions/{session['session_id']}"
            page = console.looker.get(path)
            timeline = page.text[page.text.index("timeline-title") :]
            links = re.findall(r"/tenants/demo/notifications/([0-9a-f-]{36})", timeline)
            assert links[0] == session["notifications"][0]
            assert session["notifications"][-1] in links
            assert set(links) <= set(session["notifications"])
            assert sum_of_runs(timeline) == len(session["notifications"])
            assert "Read of AMPECO" in timeline
            # A search that is cut short continues where it ended.
            monkeypatch.setattr(session_timeline, "MAX_SCANNED", 40)
            found: list[str] = []
            following: str | None = path
            while following and not set(links) <= set(found):
                page = console.looker.get(following)
                found += re.findall(r'<a href="/tenants/demo/notifications/([0-9a-f-]{36})', page.text)
                match = re.search(r'href="(\?after=[^"#]*)', page.text)
                following = f"{path}{html.unescape(match[1])}" if match else None
            assert set(links) <= set(found) <= set(session["notifications"])


def sum_of_runs(timeline: str) -> int:
    """Return how many notifications a timeline stands for."""
    entries = re.findall(r'<li class="notification">.*?</li>', timeline, re.S)
    counts = [re.search(r"× (\d+)", entry) for entry in entries]
    return sum(int(count[1]) if count else 1 for count in counts)


def test_the_live_part_follows_the_sessions_of_its_tenant(console: RunningConsole, service: Service) -> None:
    store_session(service.engine, 1, status="active", stopped_at=None)
    with console.looker.stream("GET", "/live/sessions.demo") as stream:
        lines = stream.iter_lines()
        assert "Running: 1" in message(lines)
        store_session(service.engine, 2, status="active", stopped_at=None)
        while "Running: 2" not in message(lines):
            pass
    with console.looker.stream("GET", "/live/sessions.other") as stream:
        assert "Running: 0" in message(stream.iter_lines())


def message(lines: Iterator[str]) -> str:
    """Return the next message of a stream."""
    body: list[str] = []
    for line in lines:
        if line.startswith("data: "):
            body.append(line[6:])
        elif not line and body:
            break
    return "\n".join(body)
