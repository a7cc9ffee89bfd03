"""The pages about notifications: what a filter finds, what one notification shows, and what a replay does."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator
from functools import partial
from html import unescape
from typing import Any
from uuid import UUID

import pytest

from receiver.console.replays import Replays
from storage.state import notifications
from tests.support.commands import run
from tests.support.console import RunningConsole, serving_console
from tests.support.facts import sample
from tests.support.log import accept, execute
from tests.support.page_text import words
from tests.support.replay import faulted_at
from tests.support.service import Service, eventually

PAGE = "/tenants/demo/notifications/"


@pytest.fixture
def console(service: Service) -> Iterator[RunningConsole]:
    with serving_console(service.settings) as running:
        yield running


def listed(html: str) -> list[str]:
    """The ids of the notifications that a search found, in their order."""
    found = html.partition('id="found-title"')[2]
    return re.findall(rf'href="{PAGE}([0-9a-f-]{{36}})"', found)


def found(console: RunningConsole, query: str) -> list[str]:
    answer = console.looker.get(f"/notifications?tenant=demo&{query}")
    assert answer.status_code == 200
    return listed(answer.text)


def commit(service: Service, *bodies: dict[str, Any] | bytes) -> list[str]:
    """Commit notifications in one batch; return their ids, the newest first."""
    return [str(entry.notification_id) for entry in reversed(accept(service.engine, *bodies, tenant="demo"))]


def fail_on_hardware_status(monkeypatch: pytest.MonkeyPatch, message: str = "our fault") -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(notifications, "_hardware_status", fail)


def test_type_state_entity_and_time_choose_what_is_found(console: RunningConsole, service: Service) -> None:
    commit(service, faulted_at(1), sample("BootNotification"), {"notification": "from.the.future"}, b"not JSON")
    accept(service.engine, sample("BootNotification"), tenant="other")
    service.apply()
    service.apply()
    waits, *_ = commit(service, sample("SessionUpdateNotification.active") | {"x": 1})
    everything = found(console, "")
    assert len(everything) == 5
    assert everything == sorted(everything, reverse=True)
    ids = {name: found(console, query) for name, query in {
        "type": "type=BootNotification",
        "failed": "state=failed",
        "ignored": "state=ignored",
        "applied": "state=applied",
        "pending": "state=pending",
        "session": f"session={sample('SessionUpdateNotification.active')['session']['id']}",
        "evse": f"evse={faulted_at(1)['evseId']}",
        "cause": "reason=not+JSON",
        "past": "to=2020-01-01",
    }.items()}  # fmt: skip
    assert ids["pending"] == ids["session"] == [waits]
    assert ids["failed"] == ids["cause"]
    assert {name: len(found) for name, found in ids.items()} == {
        "type": 1, "failed": 1, "ignored": 1, "applied": 2, "pending": 1, "session": 1, "evse": 2, "cause": 1, "past": 0,
    }  # fmt: skip


@pytest.mark.parametrize("text", ['say "hello"', "Łódź/2", "42.5"])
def test_a_text_in_a_body_is_found_as_json_writes_it(console: RunningConsole, service: Service, text: str) -> None:
    escaped = json.dumps({"notification": "a", "x": text}).replace("/", "\\/").encode()
    plain = json.dumps({"notification": "b", "x": text}, ensure_ascii=False).encode()
    expected = commit(service, escaped, {"notification": "other"}, plain)
    expected.pop(1)
    answer = console.looker.get("/notifications", params={"tenant": "demo", "containing": text, "read": "1"})
    assert listed(answer.text) == expected


def test_a_search_for_a_text_first_says_what_it_reads(console: RunningConsole, service: Service) -> None:
    commit(service, *(faulted_at(second) for second in range(3)))
    first = console.looker.get("/notifications?tenant=demo&containing=faulted").text
    assert "1 day of the log" in first
    assert "about 3 notifications" in " ".join(first.split())
    assert listed(first) == []
    (link,) = re.findall(r'class="button" href="([^"]+)"', first)
    assert len(listed(console.looker.get(unescape(link)).text)) == 3


def test_pages_follow_each_other_without_a_gap_or_a_repetition(
    console: RunningConsole, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.console.pages.notifications.PAGE_SIZE", 3)
    ids = commit(service, *(faulted_at(second) for second in range(8)))
    assert followed(console, "/notifications?tenant=demo") == [ids[:3], ids[3:6], ids[6:]]


def test_a_search_reads_a_bounded_number_of_notifications_and_continues_where_it_ended(
    console: RunningConsole, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.log.search.MAX_READ", 4)
    wanted, *_ = commit(service, sample("BootNotification"))
    for second in range(12):
        commit(service, faulted_at(second))
    pages = followed(console, "/notifications?tenant=demo&type=BootNotification")
    assert pages == [[], [], [wanted]]


def followed(console: RunningConsole, url: str) -> list[list[str]]:
    """The notifications on a page and on each page that its links lead to."""
    pages: list[list[str]] = []
    while url:
        html = console.looker.get(url).text
        pages.append(listed(html))
        url = unescape(next(iter(re.findall(r'rel="next" href="([^"]+)"', html)), ""))
    return pages


def test_failures_are_grouped_by_their_cause_however_old_they_are(console: RunningConsole, service: Service) -> None:
    commit(service, b"not JSON", b"{", b"[]")
    service.apply()
    execute(service.engine, "UPDATE ingest.outcome SET received_at = received_at - interval '3 days'")
    html = console.looker.get("/notifications?tenant=demo&type=none").text
    causes = re.findall(r'<th scope="row" class="any">([^<]+)</th>\s*<td class="n big">(\d+)</td>', html)
    assert sum(int(count) for _, count in causes) == 3
    assert ("not JSON", "2") in causes


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("from=yesterday", "The filter “From” is left out"),
        ("from=0001-01-01T00:00%2B23:00", "The filter “From” is left out"),
        ("from=2026-03-04&to=2026-03-03", "From is not before To"),
        ("state=lost", "The filter “State” is left out"),
        ("session=12x", "The filter “Session” is left out"),
        ("evse=99999999999999999999", "The filter “EVSE” is left out"),
        ("type=%00", "The filter “Type” is left out"),
        ("containing=" + "x" * 501, "The filter “Text in the body” is left out"),
        ("id=ffffffff-ffff-ffff-ffff-ffffffffffff", "The filter “Id” is left out"),
    ],
)
def test_a_wrong_filter_is_named_and_cannot_be_replayed(console: RunningConsole, query: str, problem: str) -> None:
    shown = console.looker.get(f"/notifications?tenant=demo&{query}")
    assert shown.status_code == 200
    assert problem in shown.text
    refused = console.actor.get(f"/notifications/replay?tenant=demo&{query}")
    assert refused.status_code == 400
    assert problem in refused.text


def test_a_notification_shows_its_body_and_what_it_changed(console: RunningConsole, service: Service) -> None:
    status = faulted_at(1) | {"vendorErrorCode": "<script>alert(1)</script>"}
    (notification_id,) = commit(service, status)
    service.apply()
    html = console.looker.get(PAGE + notification_id).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script>alert" not in html
    assert "this one" in html
    assert "charging.evse_status_observation" in html
    assert "this notification is the first source" in html
    assert f'href="/tenants/demo/evses/{status["evseId"]}"' in html
    newer, *_ = commit(service, faulted_at(2))
    service.apply()
    assert "a newer one" in console.looker.get(PAGE + notification_id).text
    assert "this one" in console.looker.get(PAGE + newer).text


def test_a_correction_shows_what_it_replaced_and_a_hint_the_read_that_waits(
    console: RunningConsole, service: Service
) -> None:
    update = sample("SessionUpdateNotification.finished")
    commit(service, update)
    service.apply()
    corrected = update["session"] | {"lastUpdatedAt": "2026-03-04T08:00:00Z", "receiptId": 4_321}
    hint, correction = commit(service, update | {"session": corrected}, sample("evse.changed"))
    service.apply()
    html = " ".join(console.looker.get(PAGE + correction).text.split())
    session = update["session"]["id"]
    assert f'<a href="/tenants/demo/why/session/{session}">receipt id</a></td> <td class="any">' in html
    assert '<td class="any">4321</td>' in html
    read = " ".join(console.looker.get(PAGE + hint).text.split())
    assert f"EVSE {sample('evse.changed')['evseId']}</a> (changed): due <time" in read


def test_a_failed_notification_shows_its_error_and_where_it_failed(
    console: RunningConsole, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_on_hardware_status(monkeypatch)
    (notification_id,) = commit(service, faulted_at(1))
    service.apply()
    html = console.looker.get(PAGE + notification_id).text
    assert "RuntimeError: our fault" in html
    assert "in fail" in html


@pytest.mark.parametrize("is_applied", [False, True], ids=["waits", "is applied"])
def test_no_secret_of_a_body_is_shown_whether_or_not_it_is_applied(
    console: RunningConsole, service: Service, is_applied: bool
) -> None:
    secret = "ocpp-passphrase-33aa"
    (notification_id,) = commit(service, sample("evse.changed") | {"network": {"networkPassword": secret}})
    if is_applied:
        service.apply()
    html = console.looker.get(PAGE + notification_id).text
    assert secret not in html
    assert "[redacted]" in html
    assert ("were removed from it" in html) == is_applied


@pytest.mark.parametrize("notification_id", [str(UUID(int=0)), "ffffffff-ffff-ffff-ffff-ffffffffffff", "x"])
def test_a_notification_that_the_log_does_not_hold_is_not_found(console: RunningConsole, notification_id: str) -> None:
    assert console.looker.get(PAGE + notification_id).status_code == 404


def confirmed(console: RunningConsole, query: str) -> tuple[int, str, dict[str, str]]:
    """The count, the command and the fields of the page that confirms a replay."""
    answer = console.actor.get(f"/notifications/replay?tenant=demo&{query}")
    assert answer.status_code == 200, answer.text
    (count,) = re.findall(r'<strong class="big">([\d,]+)</strong>', answer.text)
    (command,) = re.findall(r'<code id="command">([^<]+)</code>', answer.text)
    fields = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', answer.text)
    return int(count.replace(",", "")), unescape(command), {name: unescape(value) for name, value in fields}


def ended(console: RunningConsole, url: str) -> str:
    """The page of a replay after its end."""
    return str(eventually(lambda: next((html for html in [console.looker.get(url).text] if 'id="left"' in html), None)))


def test_what_failed_for_a_cause_is_replayed_and_recorded(
    console: RunningConsole, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two notifications that our code fails on, and one that is not JSON
    with monkeypatch.context() as patched:
        fail_on_hardware_status(patched)
        commit(service, faulted_at(1), faulted_at(2), b"not JSON")
        service.apply()
    # When the cause is repaired, and what failed for it is applied again
    count, command, fields = confirmed(console, "state=failed&reason=cannot+be+applied")
    assert count == 2
    assert command.startswith("ampeco-receiver replay --tenant demo")
    started = console.actor.post("/notifications/replay?tenant=demo", data=fields)
    assert started.status_code == 303
    # Then the page says what became of them, and the state has them
    url = started.headers["location"]
    html = ended(console, url)
    assert '<dd id="applied">2, 2 of them for the first time</dd>' in html
    assert '<dd id="left">0</dd>' in html
    assert service.query("SELECT hardware_status FROM charging.evse") == [{"hardware_status": "faulted"}]
    (action,) = service.query("SELECT actor, action, affected, error, details FROM ingest.operator_action")
    assert (action["actor"], action["action"], action["affected"], action["error"]) == ("arno", "replay", 2, None)
    assert action["details"]["expected"] == 2
    actions = console.looker.get("/actions?tenant=demo&actor=arno").text
    assert url in actions
    assert url not in console.looker.get("/actions?actor=looker").text
    assert url not in console.looker.get("/actions?tenant=other").text


def test_one_notification_is_replayed_alone(console: RunningConsole, service: Service) -> None:
    (_, chosen) = commit(service, sample("BootNotification"), faulted_at(1))
    service.apply()
    count, _, fields = confirmed(console, f"id={chosen}")
    url = console.actor.post("/notifications/replay?tenant=demo", data=fields).headers["location"]
    assert count == 1
    assert '<dd id="applied">1</dd>' in ended(console, url)


def test_the_command_that_is_shown_selects_the_same_notifications(console: RunningConsole, service: Service) -> None:
    name = 'it\'s "-x" $HOME'
    commit(service, faulted_at(1), sample("BootNotification"), {"notification": "unknown"}, b"not JSON", b"{")
    commit(service, sample("SessionUpdateNotification.active"), {"notification": "unknown", "name": name})
    service.apply()
    service.apply()
    (an_id, *_) = found(console, "")
    session = sample("SessionUpdateNotification.active")["session"]["id"]
    service_environment = {
        "DATABASE_URL": str(service.settings.required_database_url()),
        "REDIS_URL": service.settings.required_redis_url(),
        "TENANTS_FILE": str(service.settings.tenants_file),
    }
    for query, expected in (
        ("", 7),
        ("type=BootNotification", 1),
        ("state=failed", 2),
        ("state=ignored&reason=unknown+type", 2),
        ("reason=not+JSON&from=2020-01-01", 2),
        (f"session={session}&state=applied", 1),
        ("containing=" + "it%27s+%22-x%22+%24HOME", 1),
        (f"id={an_id}", 1),
    ):
        count, command, _ = confirmed(console, query)
        _, *arguments = shlex.split(command)
        ended = run(service.settings.tenants_file.parent, *arguments, "--dry-run", **service_environment)
        assert (count, ended.stdout) == (
            expected, f"demo: {expected} notifications would be applied again\n"
        ), command + ended.stderr  # fmt: skip


def test_a_replay_needs_the_role_act_and_a_count_that_was_shown(console: RunningConsole, service: Service) -> None:
    commit(service, faulted_at(1))
    service.apply()
    form = {"tenant": "demo", "state": "applied", "expected": "1"}
    assert console.looker.post("/notifications/replay?tenant=demo", data=form).status_code == 403
    for wrong in ({"expected": ""}, {"expected": "x"}, {"state": "pending"}, {"type": "no.such"}, {"from": "x"}):
        assert console.actor.post("/notifications/replay?tenant=demo", data=form | wrong).status_code == 400, wrong
    assert service.count("ingest.operator_action") == 0
    assert (
        '<form method="post" action="/notifications'
        not in console.looker.get("/notifications/replay?tenant=demo&state=applied").text
    )


def test_a_console_that_stops_ends_its_replay_after_the_chunk_and_records_that(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(service, *(faulted_at(second) for second in range(3)))
    service.apply()
    stops = threading.Event()
    stop = Replays.stop

    def signal_and_stop(replays: Replays) -> None:
        replays._is_stopping.set()
        stops.set()
        stop(replays)

    monkeypatch.setattr(Replays, "stop", signal_and_stop)
    with serving_console(service.settings) as console, service.engine.begin() as blocking:
        blocking.exec_driver_sql("LOCK charging.evse IN EXCLUSIVE MODE")
        _, _, fields = confirmed(console, "state=applied")
        url = console.actor.post("/notifications/replay?tenant=demo", data=fields).headers["location"]
        waiting = "SELECT 1 FROM pg_locks WHERE relation = 'charging.evse'::regclass AND NOT granted"
        eventually(lambda: service.query(waiting))
        assert "Under way" in console.looker.get(f"{url}/progress").text
        assert "A replay of 3 notifications is under way" in console.looker.get("/notifications?tenant=demo").text
        console.server.request_stop()
        assert stops.wait(30)
    (action,) = service.query("SELECT affected, error FROM ingest.operator_action")
    assert action == {"affected": 3, "error": "ReplayStoppedError"}
    # A console that did not start it shows what is recorded
    with serving_console(service.settings) as later:
        assert "Ended early" in later.looker.get(url).text


def _ended_early(console: RunningConsole, url: str) -> bool:
    return "Ended early" in console.looker.get(url).text


def test_a_user_stops_a_replay_that_runs_and_one_that_waits(console: RunningConsole, service: Service) -> None:
    commit(service, *(faulted_at(second) for second in range(3)))
    service.apply()
    with service.engine.begin() as blocking:
        blocking.exec_driver_sql("LOCK charging.evse IN EXCLUSIVE MODE")
        _, _, fields = confirmed(console, "state=applied")
        runs, waits = (
            console.actor.post("/notifications/replay?tenant=demo", data=fields).headers["location"] for _ in range(2)
        )
        waiting = "SELECT 1 FROM pg_locks WHERE relation = 'charging.evse'::regclass AND NOT granted"
        eventually(lambda: service.query(waiting))
        assert f'action="{runs}/stop"' in console.actor.get(runs).text
        assert f'action="{runs}/stop"' not in console.looker.get(runs).text
        assert console.looker.post(f"{runs}/stop").status_code == 403
        for url in (waits, runs, runs):
            assert console.actor.post(f"{url}/stop").headers["location"] == url
        assert "arno stopped it: it ends after" in console.looker.get(runs).text
    for url in (runs, waits):
        eventually(partial(_ended_early, console, url))
        assert "It ended early: arno stopped it." in words(console.looker.get(url).text)
        assert f'action="{url}/stop"' not in console.actor.get(url).text
        assert console.actor.post(f"{url}/stop").status_code == 303  # too late, which changes nothing
    actions = service.query("SELECT action, affected, error FROM ingest.operator_action ORDER BY action_id")
    assert [tuple(action.values()) for action in actions] == [
        ("replay", 3, "ReplayStoppedError"),
        ("replay", 0, "ReplayStoppedError"),
        ("stop_replay", 1, None),
        ("stop_replay", 1, None),
    ]
    assert console.actor.post(f"/tenants/demo/replays/{UUID(int=0)}/stop").status_code == 404


def test_the_text_of_a_filter_is_not_in_the_record_of_its_replay(console: RunningConsole, service: Service) -> None:
    commit(service, {"notification": "BootNotification", "tag": "TAG-OF-A-PERSON"})
    service.apply()
    _, _, fields = confirmed(console, "containing=TAG-OF-A-PERSON")
    url = console.actor.post("/notifications/replay?tenant=demo", data=fields).headers["location"]
    ended(console, url)
    (action,) = service.query("SELECT CAST(details AS text) AS details FROM ingest.operator_action")
    assert "TAG-OF-A-PERSON" not in action["details"]
    assert "a text of 15 characters" in action["details"]


def test_actions_are_listed_page_by_page(
    console: RunningConsole, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.console.pages.actions.PAGE_SIZE", 2)
    for number in range(5):
        execute(
            service.engine,
            "INSERT INTO ingest.operator_action (tenant, action_id, actor, action, details, began_at)"
            " VALUES ('demo', gen_random_uuid(), 'Łucja', 'exclude', '{\"reason\": \"<b>\"}', now() - :n * interval '1 h')",
            n=number,
        )
    url, pages = "/actions?actor=Łucja", []
    while url:
        html = console.looker.get(url).text
        assert "&lt;b&gt;" in html
        pages.append(html.count("exclude"))
        url = unescape(next(iter(re.findall(r'rel="next" href="([^"]+)"', html)), ""))
    assert pages == [2, 2, 1]
