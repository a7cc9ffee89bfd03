"""The pages of uptime: figures that can be followed to what makes them, and exclusions that are entered."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from receiver.console.months import Month
from receiver.console.pages import uptime, uptime_evidence
from receiver.console.pages.uptime_evidence import load
from storage.operator_exclusions import NewExclusion, add_exclusion
from tests.support.analytics import derive, fact, write
from tests.support.commands import run
from tests.support.console import NAMES, RunningConsole, serving_console
from tests.support.page_text import words
from tests.support.service import Service
from tests.support.uptime import (
    CHARGE_POINT,
    EVSE,
    FAULTED,
    HOSTILE,
    LOCATION,
    MONTH,
    NEIGHBOUR,
    OUTAGE_S,
    TENANT,
    add_neighbour,
    follow_evse,
    send_status,
)

PAGE = f"/tenants/{TENANT}/uptime/{EVSE}?month={MONTH}"
ENTER = f"/tenants/{TENANT}/uptime/{EVSE}/exclusions?month={MONTH}"

#: An entry that covers the second hour of the fault.
ENTRY = {
    "subject": "evse",
    "from": "2026-03-04T11:00+02:00",
    "to": "2026-03-04T12:00+02:00",
    "reason": "vandal's work; <b>",
    "evidence": "report 4711",
}


@pytest.fixture
def console(service: Service) -> Iterator[RunningConsole]:
    with serving_console(service.settings) as running:
        yield running


@pytest.fixture(scope="module")
def followed(shared_service: Service, shared_console: RunningConsole) -> RunningConsole:
    """A console of the one EVSE, for tests that only look."""
    follow_evse(shared_service)
    return shared_console


def test_a_figure_is_followed_to_the_notifications_that_make_it(service: Service, console: RunningConsole) -> None:
    follow_evse(service)
    month = console.looker.get(f"/uptime?tenant={TENANT}&month={MONTH}").text
    assert f'href="/tenants/{TENANT}/uptime/{EVSE}?month={MONTH}"' in month
    page = console.looker.get(PAGE).text
    (row,) = service.query("SELECT * FROM analytics.evse_uptime_month WHERE evse_id = 902 AND month = '2026-03-01'")
    assert row["outage_s"] == OUTAGE_S
    figure = 100 * (31_536_000 - (OUTAGE_S - 0)) / 31_536_000
    assert f"100 × (31,536,000 − (93,600 − 0)) / 31,536,000 = {figure:.3f} %" in words(page)
    assert f"{row['nevi_uptime_percent']:.3f} %" in words(month)
    for shown in ("93,600 s, of which 0 s are let out", "7,200 s count in this month", "GroundFailure"):
        assert shown in words(page)
    # Every status that began or ended an outage leads to its notification
    ids = service.query("SELECT notification_id FROM ingest.notification_state WHERE state = 'applied'")
    linked = set(re.findall(rf"/tenants/{TENANT}/notifications/([0-9a-f-]+)", page))
    evidence = service.query("SELECT evidence FROM analytics.evse_state_interval WHERE state IN ('faulted', 'offline')")
    assert linked == {word["notification_id"] for row in evidence for word in row["evidence"].values()}
    assert linked <= {str(row["notification_id"]) for row in ids}
    assert len(linked) == 4


def test_the_outages_of_a_month_and_the_months_of_a_year_add_up_to_the_figure(
    service: Service, console: RunningConsole
) -> None:
    follow_evse(service)
    console.actor.post(ENTER, data=ENTRY)
    derive(service.engine, TENANT)
    page = words(console.looker.get(PAGE).text)
    figure = 100 * (31_536_000 - (OUTAGE_S - 3600)) / 31_536_000
    assert f"100 × (31,536,000 − (93,600 − 3,600)) / 31,536,000 = {figure:.3f} %" in page
    assert "93,600 s, of which 3,600 s are let out" in page
    assert "Together 365 93,600 3,600" in page
    assert "vandal's work; <b> operator 1 evidence: report 4711" in page
    open_s = 31 * 86_400 - 3600  # clocks are put forward in this month
    assert f"as written: 100 × ({open_s:,} − 7,200) / {open_s:,}" in page
    assert f"measured: 100 × ({open_s - 86_400:,} − 7,200) / {open_s - 86_400:,}" in page


def test_a_period_of_the_evse_is_shown_whatever_charge_point_it_names(service: Service) -> None:
    follow_evse(service)
    for number, charge_point_id in ((6, None), (7, CHARGE_POINT + 1)):
        times: dict[str, Any] = {"started_at": FAULTED[0], "ended_at": FAULTED[1]}
        period = fact(
            "evse_downtime_period", number, 0, evse_id=EVSE, charge_point_id=charge_point_id, type="downtime", **times
        )
        write(service.engine, period, tenant=TENANT)
    derive(service.engine, TENANT)
    with service.engine.connect() as connection:
        evidence = load(connection, TENANT, EVSE, Month.parse(MONTH), None)
    assert evidence is not None
    assert {period.downtime_period_id for period in evidence.periods} == {5, 6, 7}


def test_outages_that_reach_into_other_months_count_in_each_as_its_days_do(service: Service) -> None:
    follow_evse(service)
    for moment, status in (
        (datetime(2026, 4, 29, 10, 0, 0, 900_000, tzinfo=UTC), "faulted"),
        (datetime(2026, 4, 30, 12, 30, 0, 100_000, tzinfo=UTC), "unavailable"),
        (datetime(2026, 6, 2, 1, 2, 3, 999_999, tzinfo=UTC), "available"),
        (datetime(2026, 9, 30, 20, tzinfo=UTC), "faulted"),
    ):
        send_status(service, "HardwareStatusNotification.evse", moment, hardwareStatus=status)
    service.apply()
    with service.engine.begin() as connection:
        for began_at, ended_at in (
            (datetime(2026, 4, 30, 9, 0, 0, 500_000, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)),
            (datetime(2026, 4, 30, 12, tzinfo=UTC), datetime(2026, 5, 2, 12, 0, 0, 700_000, tzinfo=UTC)),
            (datetime(2026, 10, 31, 12, tzinfo=UTC), None),
        ):
            add_exclusion(connection, TENANT, NewExclusion("evse", EVSE, began_at, ended_at, "flood", None, "me"))
    derive(service.engine, TENANT)
    month = Month(datetime(2026, 3, 1, tzinfo=UTC).date())
    while month.first_day <= datetime.now(UTC).date():
        with service.engine.connect() as connection:
            shown = load(connection, TENANT, EVSE, month, None)
        assert shown is not None
        outages = [each.outage for each in shown.outages]
        assert sum(each.counted_s for each in outages) == sum(day.outage_s for day in shown.days), month
        assert sum(each.counted_excluded_s for each in outages) == sum(day.excluded_s for day in shown.days), month
        assert all(each.states for each in shown.outages), month
        month = month.next


def test_a_loose_contact_is_shown_part_by_part(
    service: Service, console: RunningConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_evse(service)
    monkeypatch.setattr(uptime_evidence, "MAX_OUTAGES", 1)
    monkeypatch.setattr("storage.reports.uptime_evidence.MAX_OUTAGES", 1)
    first = console.looker.get(PAGE).text
    assert "7,200 s count in this month" in words(first)
    assert "86,400 s count in this month" not in words(first)
    (following,) = re.findall(r'href="([^"]+)#outages-title"', first)
    second = console.looker.get(html.unescape(following)).text
    assert "86,400 s count in this month" in words(second)
    assert "7,200 s count in this month" not in words(second)
    assert "Later outages" not in second


def test_time_in_which_nothing_is_known_is_said_to_be_unknown(service: Service, console: RunningConsole) -> None:
    follow_evse(service)
    page = words(console.looker.get(f"/uptime?tenant={TENANT}&month=2025-03").text)
    assert "2 d 2 h" in page  # the EVSE was first seen on 3 March, at 2 o'clock in Sofia
    before = words(console.looker.get(f"/uptime?tenant={TENANT}&month=2024-12").text)
    assert "Nothing is known of this month: days are known from 2025-03-03 to" in before
    now = words(console.looker.get(f"/tenants/{TENANT}/uptime/{EVSE}?month=2999-12").text)
    assert "There is no figure: the month is not over" in now


def test_an_entry_is_stored_listed_recorded_and_derived(service: Service, console: RunningConsole) -> None:
    follow_evse(service)
    answer = console.actor.post(ENTER, data=ENTRY)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}&entry=1#entries")
    page = words(console.actor.get(answer.headers["location"]).text)
    assert "Entry 1 is stored." in page
    assert "vandal's work; <b> report 4711" in page
    (stored,) = service.query("SELECT * FROM charging.operator_exclusion")
    assert (stored["evse_id"], stored["entered_by"], stored["reason"]) == (EVSE, NAMES["act"], "vandal's work; <b>")
    (action,) = service.query("SELECT * FROM ingest.operator_action")
    assert (action["actor"], action["action"], action["affected"], action["error"]) == (
        NAMES["act"],
        "exclude",
        1,
        None,
    )
    assert (action["details"]["subject"], action["details"]["subject_id"]) == ("evse", EVSE)
    derive(service.engine, TENANT)
    (outage,) = service.query("SELECT excluded_s FROM analytics.outage WHERE cause = 'faulted'")
    assert outage["excluded_s"] == 3600
    # Withdrawn, it counts no more, and is still listed
    assert console.actor.post(f"/tenants/{TENANT}/uptime/{EVSE}/exclusions/1/withdraw?month={MONTH}").status_code == 303
    derive(service.engine, TENANT)
    (outage,) = service.query("SELECT excluded_s FROM analytics.outage WHERE cause = 'faulted'")
    assert outage["excluded_s"] == 0
    page = console.actor.get(f"{PAGE}&entry=1").text
    assert "Entry 1 is withdrawn." in words(page)
    assert "/exclusions/1/withdraw" not in page
    actions = service.query("SELECT action FROM ingest.operator_action ORDER BY began_at")
    assert [row["action"] for row in actions] == ["exclude", "withdraw_exclusion"]
    assert console.actor.post(f"/tenants/{TENANT}/uptime/{EVSE}/exclusions/1/withdraw").status_code == 404


@pytest.mark.parametrize(
    ("subject", "number"), [("evse", EVSE), ("charge_point", CHARGE_POINT), ("location", LOCATION)], ids=str
)
def test_the_command_that_the_page_shows_enters_the_same(
    service: Service, console: RunningConsole, tmp_path: Path, subject: str, number: int
) -> None:
    follow_evse(service)
    console.actor.post(ENTER, data=ENTRY | {"subject": subject})
    (shown,) = re.findall(r"<details><summary>On the command line.*?<code>(.*?)</code>", console.looker.get(PAGE).text)
    program, *arguments = shlex.split(html.unescape(shown))
    assert program == "ampeco-receiver"
    settings = service.settings
    environment = {"DATABASE_URL": settings.required_database_url(), "TENANTS_FILE": str(settings.tenants_file)}
    ended = run(tmp_path, *arguments, **environment)
    assert ended.returncode == 0, ended.stderr
    first, second = json.loads(run(tmp_path, *arguments[:3], "--list", "--json", **environment).stdout)["entries"]
    own = ("exclusion_id", "entered_by", "recorded_at")
    assert {name: value for name, value in first.items() if name not in own} == {
        name: value for name, value in second.items() if name not in own
    }
    assert first[f"{subject}_id"] == number


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"from": ""}, "an entry needs its beginning."),
        ({"from": "yesterday"}, "yesterday is not a time"),
        ({"from": "0001-01-01T00:00+14:00"}, "is not a time"),
        ({"to": "2026-03-04T08:00+02:00"}, "an entry ends after it begins."),
        ({"reason": " "}, "an entry needs a reason."),
        ({"reason": "a\0b"}, "an entry needs a reason."),
        ({"evidence": "a\0b"}, "a character that cannot be stored"),
        ({"subject": "fleet"}, "an entry is for one EVSE, one charge point or one location."),
    ],
    ids=str,
)
def test_an_entry_that_makes_no_sense_is_explained_and_not_lost(
    service: Service, console: RunningConsole, changes: dict[str, str], problem: str
) -> None:
    follow_evse(service)
    answer = console.actor.post(ENTER, data=ENTRY | changes)
    assert answer.status_code == 400
    assert problem in words(answer.text)
    assert 'value="2026-03-04T11:00+02:00"' in answer.text or "from" in changes
    assert service.count("charging.operator_exclusion") == 0
    assert service.count("ingest.operator_action") == 0


def test_who_may_only_look_enters_and_withdraws_nothing(service: Service, console: RunningConsole) -> None:
    follow_evse(service)
    console.actor.post(ENTER, data=ENTRY)
    withdraw = f"/tenants/{TENANT}/uptime/{EVSE}/exclusions/1/withdraw"
    assert console.looker.post(ENTER, data=ENTRY).status_code == 403
    assert console.looker.post(withdraw).status_code == 403
    assert console.anybody.post(ENTER, data=ENTRY).status_code == 401
    for foreign in (ENTER, withdraw):
        headers = {"Sec-Fetch-Site": "cross-site"}
        assert console.actor.post(foreign, data=ENTRY, headers=headers).status_code == 403
    (entry,) = service.query("SELECT withdrawn_at FROM charging.operator_exclusion")
    assert entry["withdrawn_at"] is None
    page = console.looker.get(PAGE).text
    assert '<form method="post" action="/tenants' not in page
    assert "This needs the role act." in page


@pytest.mark.parametrize("by", ["", "location"])
@pytest.mark.parametrize("sort", ["nevi", "uk", "up", "known", "outage", "name"])
def test_a_month_can_be_sorted_and_filtered(followed: RunningConsole, by: str, sort: str) -> None:
    for location, is_found in (
        (str(LOCATION), True),
        ("forest", True),
        ("for%st", False),
        ("9" * 30, False),
        ("8", False),
    ):
        page = followed.looker.get("/uptime", params={"month": MONTH, "by": by, "sort": sort, "location": location})
        assert page.status_code == 200
        assert ("Forest Road" in words(page.text)) == is_found, location
        assert ("matches in this month" in words(page.text)) != is_found


def test_the_worst_is_first_and_a_long_list_is_read_part_by_part(
    service: Service, console: RunningConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_evse(service)
    add_neighbour(service)
    monkeypatch.setattr(uptime, "PER_PART", 1)
    for sort in ("nevi", "uk", "up", "outage"):
        first = console.looker.get(f"/uptime?month={MONTH}&sort={sort}").text
        assert evses(first) == [EVSE], sort
        assert "1 to 1 of 2" in words(first)
        (following,) = re.findall(r'href="([^"]+)" rel="next">Next', first)
        second = console.looker.get(html.unescape(following)).text
        assert evses(second) == [NEIGHBOUR], sort
    assert evses(console.looker.get(f"/uptime?month={MONTH}&sort=name").text) == [NEIGHBOUR]
    (row,) = re.findall(
        r"<tbody>(.*?)</tbody>", console.looker.get(f"/uptime?month={MONTH}&by=location").text, re.DOTALL
    )
    assert "Forest Road 2 EVSEs 99.703 % all meet 97 %" in words(row)


def evses(page: str) -> list[int]:
    """The EVSEs that a list shows, in its order."""
    return [int(each) for each in re.findall(rf'<a href="/tenants/{TENANT}/uptime/([0-9]+)\?', page)]


def test_names_of_the_fleet_are_shown_and_not_obeyed(service: Service, console: RunningConsole) -> None:
    follow_evse(service, name=HOSTILE)
    addresses = [f"/uptime?month={MONTH}", f"/uptime?month={MONTH}&by=location", PAGE]
    addresses += [f"/tenants/{TENANT}/uptime/{EVSE}?from={HOSTILE[:300]}&to=%00&entry=x&outages=never"]
    for address in addresses:
        page = console.actor.get(address)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "&lt;script&gt;alert" in page.text


@pytest.mark.parametrize(
    "address", [f"/tenants/{TENANT}/uptime/1", f"/tenants/{TENANT}/uptime/{2**70}", f"/tenants/x/uptime/{EVSE}"]
)
def test_what_does_not_exist_is_said_to_be_missing(followed: RunningConsole, address: str) -> None:
    assert followed.looker.get(address).status_code == 404
    assert followed.actor.post(f"{address}/exclusions", data=ENTRY).status_code == 404
