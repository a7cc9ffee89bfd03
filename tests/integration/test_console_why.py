"""The page *Why*: which notification or read set each field, and what it replaced."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

import pytest

from storage.schema.entities import MIRRORS
from tests.support.analytics import at, fact, gone, session_facts, write
from tests.support.console import RunningConsole, serving_console, store_session
from tests.support.facts import sample
from tests.support.service import Service


@pytest.fixture
def console(service: Service) -> Iterator[RunningConsole]:
    with serving_console(service.settings) as running:
        yield running


def why(console: RunningConsole, kind: str, entity_id: int) -> dict[str, str]:
    """Return the text of each section of the page of an entity, by the name of its column group."""
    answer = console.looker.get(f"/tenants/demo/why/{kind}/{entity_id}")
    assert answer.status_code == 200
    parts = re.split(r'<section aria-labelledby="(?:group-)?([a-z_-]+)">', answer.text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def row_of(section: str, field: str) -> str:
    """Return the row of a field."""
    (row,) = re.findall(rf'<tr><th scope="row"><code>{field}</code>.*?</tr>', section, re.S)
    return str(row)


def ids(service: Service) -> list[str]:
    """Return the ids of the stored notifications, in the order of receipt."""
    rows = service.query("SELECT notification_id FROM ingest.notification ORDER BY received_at, notification_id")
    return [str(row["notification_id"]) for row in rows]


def test_a_status_names_its_notification_and_the_one_before(console: RunningConsole, service: Service) -> None:
    status = sample("HardwareStatusNotification.evse")
    evse_id = status["evseId"]
    for minutes, word in ((0, "available"), (5, "faulted")):
        service.post(status | {"hardwareStatus": word, "timestamp": at(minutes).isoformat()})
        service.apply()
    _, second = ids(service)
    with service.engine.begin() as connection:  # the history knows it without the log
        connection.exec_driver_sql("DELETE FROM ingest.notification")
    hardware = why(console, "evse", evse_id)["hardware"]
    assert f"/tenants/demo/notifications/{second}" in hardware.partition("<table")[0]
    row = row_of(hardware, "hardware_status")
    assert ">faulted<" in row.replace("\n", "")
    assert "available" in row.partition("faulted")[2]


def test_the_notification_of_a_session_that_runs_is_found_in_the_log(console: RunningConsole, service: Service) -> None:
    update = sample("SessionUpdateNotification.active")
    for number in range(3):
        other = update["session"] | {"id": 500 + number}
        service.post(update | {"session": other})
    service.post(update)
    service.post(update)
    service.apply()
    first = ids(service)[3]
    sections = why(console, "session", update["session"]["id"])
    for group in ("state", "detail"):
        assert f"/tenants/demo/notifications/{first}" in sections[group].partition("<table")[0], group
    assert "Nothing has set this group yet" in sections["meter"]


def test_a_provisional_part_is_said_to_be_one(console: RunningConsole, service: Service) -> None:
    start = sample("SessionStartStopNotification.start")
    service.post(start)
    service.apply()
    state = why(console, "session", start["sessionId"])["state"]
    assert f"/tenants/demo/notifications/{ids(service)[0]}" in state
    assert "a part of the group" in state
    assert "provisional" in state


def test_a_read_is_named_with_when_it_began(console: RunningConsole, service: Service) -> None:
    write(service.engine, fact("location", 57, 3, name="Harbour"), tenant="demo")
    sections = why(console, "location", 57)
    assert f'that began <time datetime="{at(3).isoformat()}">' in sections["master"]
    assert "nothing since it was first stored" in row_of(sections["master"], "name")
    write(service.engine, fact("location", 57, 9, name="Quay"), tenant="demo")
    sections = why(console, "location", 57)
    row = row_of(sections["master"], "name")
    assert row.index("Quay") < row.index("Harbour") < row.index("a read")
    assert "Harbour" in sections["history-title"]


def test_a_correction_of_a_session_names_what_it_replaced(console: RunningConsole, service: Service) -> None:
    store_session(service.engine, 1)
    write(service.engine, *session_facts(1, 60, status="finished", energy_wh=Decimal(13_000)), tenant="demo")
    row = row_of(why(console, "session", 1)["state"], "energy_wh")
    assert row.index("13000") < row.index("12000")


def test_a_fact_that_arrived_late_is_not_what_made_the_present_value(console: RunningConsole, service: Service) -> None:
    for minutes, name in ((0, "Alpha"), (240, "Gamma"), (120, "Beta")):
        write(service.engine, fact("location", 66, minutes, name=name), tenant="demo")
    row = row_of(why(console, "location", 66)["master"], "name")
    assert row.index("Gamma") < row.index("Beta")
    assert "Alpha" not in row


def test_what_cannot_be_found_is_said(console: RunningConsole, service: Service) -> None:
    update = sample("SessionUpdateNotification.active")
    service.post(update)
    service.apply()
    with service.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ingest.notification")
    assert "history does not name" in why(console, "session", update["session"]["id"])["state"]


def test_every_kind_has_its_page_and_unknown_ones_none(console: RunningConsole) -> None:
    for kind in MIRRORS:
        page = console.looker.get(f"/tenants/demo/why/{kind}/1")
        assert page.status_code == 200, kind
        assert "is stored: no notification" in page.text
    for path in ("nothing/1", "session/x", "session/99999999999999999999", "session/-1"):
        assert console.looker.get(f"/tenants/demo/why/{path}").status_code == 404, path


def test_an_entity_that_is_gone_is_marked(console: RunningConsole, service: Service) -> None:
    write(service.engine, fact("tariff", 7, 0, name="Night"), gone("tariff", 7, 5), tenant="demo")
    assert "A read found it gone" in console.looker.get("/tenants/demo/why/tariff/7").text


def test_what_names_a_person_is_marked(console: RunningConsole, service: Service) -> None:
    store_session(service.engine, 1, user_id=5511, id_tag="04A1B2C3D4")
    detail = why(console, "session", 1)["detail"]
    assert "names a person" in row_of(detail, "user_id")
    assert "names a person" in row_of(detail, "id_tag")
    assert "names a person" not in row_of(detail, "currency")


def test_a_secret_is_on_no_page(console: RunningConsole, service: Service) -> None:
    changed = sample("LocationChangedNotification")
    changed["location"] = changed["location"] | {"accessToken": "hunter2-secret", "password": "hunter3-secret"}
    service.post(changed)
    service.apply()
    page = console.looker.get(f"/tenants/demo/why/location/{changed['location']['id']}").text
    assert "public_charge_points_ids" in page
    assert "hunter" not in page


def test_the_form_leads_to_the_page_of_what_is_chosen(console: RunningConsole) -> None:
    answer = console.looker.get("/why?tenant=demo&kind=evse&id=901")
    assert (answer.status_code, answer.headers["location"]) == (303, "/tenants/demo/why/evse/901")
    for wrong in ("kind=evse&id=x", "kind=%00&id=1", "kind=nothing&id=1", "kind=evse&id=99999999999999999999"):
        answer = console.looker.get(f"/why?tenant=demo&{wrong}")
        assert answer.status_code == 200, wrong
        assert "is left out" in answer.text
