"""The pages of the fleet: what they list, what they show of a place, and what changes on an open page."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from receiver.console.pages import fleet
from storage.reports.evse_states import changed_evses, fleet_time
from tests.support.analytics import derive, gone, write
from tests.support.console import RunningConsole, serving_console, store_session
from tests.support.console_fleet import (
    CHARGE_POINT,
    EVSE,
    HOSTILE,
    LOCATION,
    ago,
    observe,
    write_site,
)
from tests.support.service import Service, eventually


@pytest.fixture
def console(service: Service) -> Iterator[RunningConsole]:
    with serving_console(service.settings) as running:
        yield running


@pytest.fixture
def engine(service: Service) -> Engine:
    return store_two_sites(service)


@pytest.fixture(scope="module")
def filled(shared_service: Service, shared_console: RunningConsole) -> RunningConsole:
    """A console of the same two sites, for tests that only look."""
    store_two_sites(shared_service)
    return shared_console


def store_two_sites(service: Service) -> Engine:
    """Store Harbour with a faulted and a charging EVSE, and Mill, which is offline."""
    write_site(service.engine, evse_ids=(711, 712))
    write_site(service.engine, location_id=8, charge_point_id=81, evse_ids=(811,), name="Mill", external_id="M%8")
    observe(service.engine, 300, network=(71, "available"))
    observe(service.engine, 300, network=(81, "temporarily_unavailable"))
    observe(service.engine, 200, evse=(711, "faulted"))
    observe(service.engine, 200, evse=(712, "available"))
    observe(service.engine, 100, evse=(712, "charging"))
    observe(service.engine, 200, evse=(811, "available"))
    return service.engine


def listed(console: RunningConsole, query: str = "") -> list[int]:
    """The EVSEs that the page lists, in its order."""
    answer = console.looker.get(f"/fleet?tenant=demo{query}")
    assert answer.status_code == 200
    return [int(found) for found in re.findall(r'id="state-demo-(\d+)"', answer.text)]


def words(answer: httpx.Response) -> str:
    """The text of a page, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [711, 712, 811]),
        ("&state=charging", [712]),
        ("&state=offline", [811]),
        ("&state=reserved", []),
        ("&location=8", [811]),
        ("&network=available", [711, 712]),
        ("&q=harbour", [711, 712]),
        ("&q=Mill-OCPP", [811]),
        ("&q=712", [712]),
        ("&q=M%258", [811]),
        ("&q=%25", [811]),  # a sign of LIKE is an ordinary one
        ("&q=varna&state=faulted", [711]),
        ("&q=%00", [711, 712, 811]),
    ],
)
def test_the_list_has_the_evses_that_match_and_no_other(
    filled: RunningConsole, query: str, expected: list[int]
) -> None:
    assert listed(filled, query) == expected


def test_the_counts_are_those_of_the_whole_fleet_whatever_the_filter(filled: RunningConsole) -> None:
    page = filled.looker.get("/fleet?tenant=demo&state=charging").text
    counts = dict(re.findall(r'id="count-demo-(\w+)">(\d+)<', page))
    assert {state: count for state, count in counts.items() if count != "0"} == {
        "faulted": "1",
        "charging": "1",
        "offline": "1",
    }
    assert "3 EVSEs of 2 charge points at 2 locations" in page


def test_a_filter_that_cannot_be_meant_is_named_and_left_out(filled: RunningConsole) -> None:
    page = words(filled.looker.get("/fleet?tenant=demo&state=broken&location=here"))
    assert "The filter “state” is left out" in page
    assert "The filter “location” is left out" in page
    assert listed(filled, "&state=broken&location=here&after=x") == [711, 712, 811]
    assert listed(filled, f"&location={2**63}&after={2**63}") == [711, 712, 811]


def test_the_links_to_further_pages_lead_to_every_evse_once(
    filled: RunningConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "PAGE_SIZE", 1)
    seen, address = [], "/fleet?tenant=demo&q=varna"
    while address:
        page = filled.looker.get(address).text
        seen += re.findall(r'id="state-demo-(\d+)"', page)
        address = unescape("".join(re.findall(r'href="([^"]+)" rel="next"', page)))
    assert seen == ["711", "712", "811"]


@pytest.mark.usefixtures("engine")
def test_a_ribbon_says_in_words_what_it_draws(console: RunningConsole) -> None:
    page = console.looker.get("/fleet?tenant=demo&q=712").text
    assert "charging, " in page
    assert re.search(r'aria-label="Harbour EVSE 712, last 24 hours: [^"]*charging 1 h 40 min', page)


def test_a_state_lasts_since_another_one_ended_and_not_since_its_evidence_changed(
    console: RunningConsole, engine: Engine
) -> None:
    began_at = ago(90)
    observe(engine, 90, evse=(712, "suspendedEV"))
    observe(engine, 50, evse=(712, "suspendedEVSE"))  # another status, and the same state
    page = console.looker.get("/fleet?tenant=demo&q=712").text
    (since,) = re.findall(r'id="state-demo-712".*?datetime="([^"]+)"', page, re.DOTALL)
    assert abs(datetime.fromisoformat(since) - began_at) < timedelta(minutes=1)


def test_ribbons_end_now_although_the_clock_of_one_evse_is_fast(service: Service) -> None:
    write_site(service.engine, evse_ids=range(1, 41))
    observe(service.engine, 100, network=(CHARGE_POINT, "available"))
    observe(service.engine, -300, evse=(1, "charging"))
    with service.engine.connect() as connection:
        assert fleet_time(connection, "demo") < ago(-1)


def test_ribbons_end_at_the_time_of_a_fleet_whose_clocks_are_all_ahead(service: Service) -> None:
    write_site(service.engine, evse_ids=(1, 2))
    observe(service.engine, -300, evse=(1, "charging"), network=(CHARGE_POINT, "available"))
    with service.engine.connect() as connection:
        assert fleet_time(connection, "demo") > ago(-299)


def test_hostile_names_of_the_fleet_are_shown_as_text(service: Service, console: RunningConsole) -> None:
    write_site(service.engine, name=HOSTILE, latitude=43, longitude=28)
    for path in (
        "/fleet?tenant=demo",
        "/fleet/map?tenant=demo",
        f"/tenants/demo/locations/{LOCATION}",
        f"/tenants/demo/charge-points/{CHARGE_POINT}",
        f"/tenants/demo/evses/{EVSE}",
    ):
        page = console.looker.get(path).text
        assert "alert(1)" in page, path
        assert "<script>alert" not in page, path
    assert len(console.looker.get("/fleet?tenant=demo").text) < 15_000


def test_a_page_of_a_place_shows_its_evses_and_the_notifications_behind_their_states(
    console: RunningConsole, engine: Engine
) -> None:
    disconnected = observe(engine, 30, network=(71, "temporarily_unavailable"))
    finishing = observe(engine, 20, evse=(712, "finishing"))
    location = words(console.looker.get("/tenants/demo/locations/7"))
    assert "Harbour location" in location
    assert "Harbour EVSE 711" in location
    assert "Mill" not in location
    charge_point = console.looker.get("/tenants/demo/charge-points/71")
    assert f'href="/tenants/demo/notifications/{disconnected}"' in charge_point.text
    assert "disconnected" in words(charge_point)
    assert "faulted" in words(charge_point).partition("Recent outages")[2]
    evse = console.looker.get("/tenants/demo/evses/712").text
    assert f'href="/tenants/demo/notifications/{finishing}"' in evse
    assert f'href="/tenants/demo/notifications/{disconnected}"' in evse


@pytest.mark.parametrize(
    ("page", "site_evses", "rest"),
    [("locations/7", {"711", "712"}, "location=7"), ("charge-points/71", {"711", "712"}, "charge_point=71")],
)
def test_a_place_with_more_evses_than_are_shown_says_so_and_leads_to_all(
    console: RunningConsole, engine: Engine, monkeypatch: pytest.MonkeyPatch, page: str, site_evses: set[str], rest: str
) -> None:
    observe(engine, 20, evse=(712, "faulted"))
    for shown, heading, expected in (
        (1, "Recent outages of the EVSEs shown Began", {"711"}),
        (2, "Recent outages Began", site_evses),
    ):
        monkeypatch.setattr("receiver.console.pages.places.MAX_EVSES", shown)
        answer = console.looker.get(f"/tenants/demo/{page}")
        table = answer.text.partition('id="outages-title"')[2].partition("</table>")[0]
        assert heading in words(answer)
        assert set(re.findall(r"/evses/([0-9]+)", table)) == expected
        assert ("All EVSEs of this" in words(answer)) is (shown == 1)
        assert shown == 2 or f"/fleet?tenant=demo&amp;{rest}" in answer.text
    assert {str(number) for number in listed(console, f"&{rest}")} == site_evses


def test_earlier_states_of_an_evse_are_on_further_pages(
    console: RunningConsole, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.console.pages.places.MAX_STATES", 2)
    seen, address = [], "/tenants/demo/evses/712"
    while address:
        page = console.looker.get(address).text
        table = page.partition('id="states-title"')[2].partition("</table>")[0]
        seen += re.findall(r'<td><span class="state state-(\w+)">', table)
        query = unescape("".join(re.findall(r'href="([^"]+)" rel="next"', page)))
        address = f"/tenants/demo/evses/712{query}" if query else ""
    with engine.connect() as connection:
        states = connection.exec_driver_sql(
            "SELECT state FROM analytics.evse_state_interval WHERE evse_id = 712 ORDER BY began_at DESC"
        )
        assert seen == list(states.scalars())


def test_opening_hours_are_in_the_order_of_the_week(console: RunningConsole, service: Service) -> None:
    opened = [{"start": "07:00", "end": "22:00"}]
    hours = dict.fromkeys(("sunday", "friday", "monday", "wednesday"), opened) | {"tuesday": []}
    write_site(service.engine, working_hours={"isAlwaysOpen": False, "hours": hours})
    page = words(console.looker.get(f"/tenants/demo/locations/{LOCATION}"))
    assert " ".join(f"{day} 07:00–22:00" for day in ("monday", "wednesday", "friday", "sunday")) in page
    assert "tuesday" not in page


@pytest.mark.parametrize(
    "hours",
    [
        ["monday"],
        "always",
        {"monday": "closed"},
        {"monday": [{"start": None}]},
        {"Monday": [{"start": "07:00", "end": "22:00"}]},
        {"monday": [{"start": "07:00", "end": "22:00"}], "holidays": []},
    ],
    ids=str,
)
def test_opening_hours_that_cannot_be_read_are_shown_as_they_count(
    console: RunningConsole, service: Service, hours: object
) -> None:
    write_site(service.engine, working_hours={"isAlwaysOpen": False, "hours": hours})
    page = words(console.looker.get(f"/tenants/demo/locations/{LOCATION}"))
    assert "cannot be read, so it counts as always open" in page


def test_a_session_that_failed_or_is_gone_does_not_run(console: RunningConsole, service: Service) -> None:
    write_site(service.engine)
    ended: dict[str, Any] = {"evse_id": EVSE, "charge_point_id": CHARGE_POINT, "stopped_at": None}
    store_session(service.engine, 1, **ended, status="failed")
    store_session(service.engine, 2, **ended, status="active")
    write(service.engine, gone("session", 2, 60), tenant="demo")
    derive(service.engine, "demo")
    page = words(console.looker.get(f"/tenants/demo/evses/{EVSE}")).partition("Recent sessions")[2]
    assert "still running" not in page
    assert page.count("removed at AMPECO") == 1
    # Another one does
    store_session(service.engine, 3, **ended, status="active")
    assert words(console.looker.get(f"/tenants/demo/evses/{EVSE}")).count("still running") == 1


@pytest.mark.parametrize("path", ["locations", "charge-points", "evses"])
@pytest.mark.parametrize("entity_id", ["999", "0", "x", "-1", "99999999999999999999", "9223372036854775808"])
def test_a_place_that_is_not_known_is_said_to_be_unknown(filled: RunningConsole, path: str, entity_id: str) -> None:
    assert filled.looker.get(f"/tenants/demo/{path}/{entity_id}").status_code == 404


def test_the_map_lists_every_location_and_marks_those_with_coordinates(
    service: Service, console: RunningConsole
) -> None:
    write_site(service.engine, latitude=43.2, longitude=27.9)
    write_site(service.engine, location_id=8, charge_point_id=81, evse_ids=(811,), name="Mill")
    answer = console.looker.get("/fleet/map?tenant=demo")
    markers = unescape("".join(re.findall(r'data-locations="([^"]*)"', answer.text)))
    assert "/tenants/demo/locations/7" in markers
    assert "/tenants/demo/locations/8" not in markers
    assert "Mill location Varna not on the map: no coordinates" in words(answer)


class Stream:
    """What the stream of the fleet has sent so far."""

    def __init__(self, client: httpx.Client, **headers: str) -> None:
        self.text = ""
        self._client, self._headers = client, headers
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        with self._client.stream("GET", "/live/fleet.demo", headers=self._headers) as answer:
            for line in answer.iter_lines():
                self.text += line + "\n"
                if self._ended.is_set():
                    return

    def messages(self) -> int:
        """How many messages came."""
        return self.text.count("\nid: ")

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)


def state_in(stream: Stream, evse_id: int) -> str | None:
    """The last state of an EVSE that a stream sent."""
    found = re.findall(rf'id="state-demo-{evse_id}" hx-swap-oob="true"><span class="state state-(\w+)">', stream.text)
    return found[-1] if found else None


def test_the_stream_sends_the_evses_whose_state_changed_and_no_other(console: RunningConsole, engine: Engine) -> None:
    with Stream(console.looker) as first:
        eventually(lambda: state_in(first, 712) == "charging")  # what a page may have missed while it loaded
        seen = len(first.text)
        observe(engine, 0, evse=(712, "finishing"))
        eventually(lambda: state_in(first, 712) == "finishing")
        assert "state-demo-711" not in first.text[seen:]
        assert re.search(r'id="count-demo-finishing" hx-swap-oob="true">1<', first.text[seen:])
        sent = first.messages()
        eventually(lambda: first.messages() >= sent + 2)
        assert "state-demo-712" not in first.text.rpartition("\nid: ")[2]


def test_a_page_that_follows_late_gets_what_changed_while_it_loaded(console: RunningConsole, engine: Engine) -> None:
    with Stream(console.looker) as first:
        eventually(lambda: first.messages() >= 1)
        observe(engine, 0, evse=(712, "finishing"))
        eventually(lambda: state_in(first, 712) == "finishing")
        with Stream(console.actor) as second:
            eventually(lambda: state_in(second, 712) == "finishing")


def test_a_page_that_returns_gets_what_it_missed_or_loads_itself_again(console: RunningConsole, engine: Engine) -> None:
    with Stream(console.looker) as first:
        eventually(lambda: first.messages() >= 1)
        left_at = re.findall("^id: (.+)$", first.text, re.MULTILINE)[-1]
        observe(engine, 0, evse=(712, "finishing"))
        eventually(lambda: state_in(first, 712) == "finishing")
        with Stream(console.actor, **{"Last-Event-ID": left_at}) as returned:
            eventually(lambda: state_in(returned, 712) == "finishing")
        with Stream(console.actor, **{"Last-Event-ID": "of-another-run"}) as stale:
            eventually(lambda: "event: missed" in stale.text)


def test_changes_beyond_one_message_follow_in_the_next(
    console: RunningConsole, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "MAX_CHANGES", 1)
    with Stream(console.looker) as stream:
        eventually(
            lambda: {state_in(stream, evse_id) for evse_id in (711, 712, 811)} == {"faulted", "charging", "offline"}
        )


def test_changes_are_not_lost_to_a_statement_that_failed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    source = fleet.FleetChanges("demo")
    with engine.connect() as connection:
        with monkeypatch.context() as broken:
            broken.setattr(fleet, "some_evses", _fail)
            with pytest.raises(ConnectionError):
                source(connection)
        shown = source(connection)
        assert shown is not None
        assert {item.evse.evse_id for item in shown["items"]} == {711, 712, 811}
        assert source(connection) is None


def _fail(*_: object) -> Callable[[], None]:
    raise ConnectionError("a statement failed")


def test_changes_of_another_tenant_are_not_in_the_stream_of_one(engine: Engine) -> None:
    write_site(engine, tenant="other", evse_ids=(5,))
    observe(engine, 10, evse=(5, "available"), network=(71, "available"), tenant="other")
    with engine.connect() as connection:
        assert set(changed_evses(connection, "demo", 0, 10)[0]) == {711, 712, 811}
        assert changed_evses(connection, "other", 0, 10)[0] == [5]
