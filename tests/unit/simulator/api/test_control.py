"""Control: what a person or a test does to a running tenant."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulator.app import Simulator
from simulator.settings import Faults
from tests.unit.simulator.support import (
    RESOURCES,
    START,
    SUBSCRIPTIONS,
    TOKEN,
    call,
    delivering,
    receiving,
    small,
    subscription,
    until,
)

SESSIONS = f"{RESOURCES}/sessions/v1.0"


def test_faults_change_one_by_one_and_are_shown(simulator: Simulator) -> None:
    call(simulator, "PATCH", "/control/faults", json={"drop": 0.5})
    answer = call(simulator, "PATCH", "/control/faults", json={"api_forbidden": ["sessions"]})
    assert answer.status_code == 200
    assert answer.json() == call(simulator, "GET", "/control/faults").json()
    assert (answer.json()["drop"], answer.json()["api_forbidden"]) == (0.5, ["sessions"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"drop": 1.5}, "drop"),
        ({"dorp": 1}, "dorp"),
        ({"delay_min_seconds": 9_000}, "body"),
        ({"delay_max_seconds": 1e300}, "delay_max_seconds"),
        ({"api_429": "often"}, "api_429"),
        ([1], "body"),
    ],
)
def test_a_fault_that_makes_no_sense_is_422_and_changes_nothing(simulator: Simulator, body: Any, field: str) -> None:
    answer = call(simulator, "PATCH", "/control/faults", json=body)
    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == [field]
    assert simulator.fault_injector.faults == Faults()


def test_after_a_rotation_the_old_token_is_refused(simulator: Simulator) -> None:
    token = call(simulator, "POST", "/control/rotate-token").json()["token"]
    assert call(simulator, "GET", SESSIONS, token=TOKEN).status_code == 401
    assert call(simulator, "GET", SESSIONS, token=token).status_code == 200


@pytest.mark.parametrize(("resign", "signs_with"), [(True, "new"), (False, TOKEN)])
def test_subscriptions_sign_with_the_new_token_or_keep_the_old(
    simulator: Simulator, resign: bool, signs_with: str
) -> None:
    call(simulator, "POST", SUBSCRIPTIONS, json=subscription("http://receiver.test/", "evse.changed"))
    call(simulator, "POST", "/control/rotate-token", json={"token": "new", "resign": resign})
    (made,) = simulator.subscribers.by_id.values()
    assert made.token == signs_with


def test_the_state_shows_the_clock_and_counts_the_calls(simulator: Simulator) -> None:
    call(simulator, "GET", SESSIONS)
    call(simulator, "GET", f"{SESSIONS}/1")
    call(simulator, "GET", f"{SESSIONS}/2")
    state = call(simulator, "GET", "/control/state").json()
    assert state["now"] == "2026-03-04T01:00:00+00:00"
    assert sum(state["evses"].values()) == 8
    assert state["calls"] == {f"GET {SESSIONS} 200": 1, f"GET {SESSIONS}/{{id}} 404": 2}
    assert state["deliveries"]["queued"] == 0


def test_a_paused_tenant_stands_still_and_lets_go_of_what_it_held() -> None:
    simulator = Simulator(small(), token=TOKEN, speed=3_600, faults=Faults(delay=1, delay_min_seconds=3_600))

    async def scene() -> None:
        running = asyncio.create_task(simulator.runner.run())
        await until(lambda: simulator.fault_injector.held > 0)
        simulator.runner.pause()
        assert simulator.fault_injector.held == 0
        stood = simulator.fleet.now
        await asyncio.sleep(0.15)
        assert simulator.fleet.now == stood
        simulator.runner.resume()
        await until(lambda: simulator.fleet.now > stood)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scene())


def test_a_clock_that_cannot_keep_up_lags_and_says_so() -> None:
    simulator = Simulator(small(), token=TOKEN, speed=1)
    simulator.runner.step(10.25)
    assert (simulator.fleet.now - START).total_seconds() == pytest.approx(0.25)
    assert simulator.runner.lag_seconds == pytest.approx(10)


@pytest.mark.process
@pytest.mark.parametrize(("name", "times"), [("evse.changed", 1), ("BootNotification", 0), ("firmware.changed", 1)])
def test_a_hand_made_notification_reaches_its_subscribers_past_all_faults(name: str, times: int) -> None:
    """A name that cannot be subscribed to reaches every subscriber."""
    simulator = Simulator(small(), token=TOKEN, faults=Faults(drop=1))

    async def scene() -> list[bytes]:
        async with receiving() as receiver, delivering(simulator):
            body = subscription(receiver.url, "evse.changed")
            await asyncio.to_thread(call, simulator, "POST", SUBSCRIPTIONS, json=body)
            emitted = {"notification": name, "body": {"anything": [1, None]}}
            answer = await asyncio.to_thread(call, simulator, "POST", "/control/emit", json=emitted)
            assert (answer.status_code, answer.json()) == (202, {"subscriptions": times})
            await until(lambda: simulator.delivery.waiting == 0)
        return [one.body for one in receiver.received]

    assert asyncio.run(scene()) == [b'{"anything":[1,null]}'] * times


@pytest.mark.parametrize("name", ["", "two words", "evse.changed\r\nX-Forged: 1", "dé"])
def test_a_name_or_token_that_no_header_can_hold_is_refused(simulator: Simulator, name: str) -> None:
    emitted = call(simulator, "POST", "/control/emit", json={"notification": name, "body": {}})
    rotated = call(simulator, "POST", "/control/rotate-token", json={"token": name})
    assert (emitted.status_code, rotated.status_code) == (422, 422)
    assert call(simulator, "GET", SESSIONS).status_code == 200


def test_the_ledger_is_read_from_a_number_on(simulator: Simulator) -> None:
    assert call(simulator, "GET", "/control/deliveries").json()["meta"] == {"total": 0, "dropped": 0}
    assert call(simulator, "GET", "/control/deliveries?after=x").status_code == 422


def test_with_a_control_token_control_is_closed_to_others() -> None:
    simulator = Simulator(small(), token=TOKEN, control_token="control")
    assert call(simulator, "GET", "/control/state", token=None).status_code == 401
    assert call(simulator, "GET", "/control/state", token=TOKEN).status_code == 401
    assert call(simulator, "GET", "/control/state", token="control").status_code == 200


def test_the_front_page_lists_every_endpoint(simulator: Simulator) -> None:
    page = call(simulator, "GET", "/", token=None)
    assert page.status_code == 200
    for path in (f"{SESSIONS}/{{id}}", SUBSCRIPTIONS, "/control/emit"):
        assert path in page.text
