"""Subscriptions: made, read, replaced, removed; and refused with reasons."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from simulator.app import Simulator
from tests.unit.simulator.support import SUBSCRIPTIONS, call, subscription

URL = "http://receiver.test?secret=a%20b"
RESEND = "/public-api/actions/notifications/v1.0/{}/resend"


def create(simulator: Simulator, *names: str) -> int:
    body = subscription(URL, *(names or ("evse.changed",)))
    made: int = call(simulator, "POST", SUBSCRIPTIONS, json=body).json()["data"]["id"]
    return made


def test_a_subscription_is_made_as_asked_letter_for_letter(simulator: Simulator) -> None:
    answer = call(simulator, "POST", SUBSCRIPTIONS, json=subscription(URL, "evse.changed", "BootNotification"))
    assert answer.status_code == 201
    made = answer.json()["data"]
    assert made == {
        "id": made["id"],
        "via": "webhook",
        "notifications": ["evse.changed", "BootNotification"],
        "webhook": {"callbackUrl": URL},
    }
    assert call(simulator, "GET", f"{SUBSCRIPTIONS}/{made['id']}").json() == {"data": made}


def test_the_same_call_twice_makes_two(simulator: Simulator) -> None:
    first, second = create(simulator), create(simulator)
    listed = call(simulator, "GET", SUBSCRIPTIONS).json()["data"]
    assert [one["id"] for one in listed] == [first, second]


def test_an_update_replaces_the_whole(simulator: Simulator) -> None:
    made = create(simulator, "evse.changed", "BootNotification")
    body = subscription("https://elsewhere.test/x", "chargePoint.changed")
    answer = call(simulator, "PUT", f"{SUBSCRIPTIONS}/{made}", json=body)
    assert answer.status_code == 200
    assert answer.json() == {"data": {"id": made, **body}}


def test_a_removed_subscription_is_gone(simulator: Simulator) -> None:
    made = create(simulator)
    assert call(simulator, "DELETE", f"{SUBSCRIPTIONS}/{made}").status_code == 204
    for method in ("GET", "DELETE"):
        assert call(simulator, method, f"{SUBSCRIPTIONS}/{made}").status_code == 404
    assert call(simulator, "PUT", f"{SUBSCRIPTIONS}/{made}", json=subscription(URL, "evse.changed")).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"via": "webhook", "webhook": {"callbackUrl": URL}}, "notifications"),
        (subscription(URL), "notifications"),
        (subscription(URL, "evse.chnged"), "notifications"),
        (subscription(URL, "PartnerChangedNotification"), "notifications"),
        (subscription("not a url", "evse.changed"), "webhook.callbackUrl"),
        ({"via": "webhook", "notifications": ["evse.changed"]}, "webhook"),
        (subscription(URL, "evse.changed") | {"via": "pigeon"}, "via"),
        ([], "body"),
    ],
)
def test_what_cannot_be_subscribed_to_is_422_and_names_the_field(simulator: Simulator, body: Any, field: str) -> None:
    answer = call(simulator, "POST", SUBSCRIPTIONS, json=body)
    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == [field]
    assert call(simulator, "GET", SUBSCRIPTIONS).json()["data"] == []


def test_a_resend_is_accepted_once_in_fifteen_tenant_minutes(simulator: Simulator) -> None:
    path = RESEND.format(create(simulator))
    body = {"notifications": ["evse.changed"], "startTime": "2026-03-04 00:00:00"}
    assert call(simulator, "POST", path, json=body).status_code == 202
    assert call(simulator, "POST", path, json=body).status_code == 409
    simulator.fleet.advance(simulator.fleet.now + timedelta(minutes=15))
    assert call(simulator, "POST", path, json=body).status_code == 202


def test_a_resend_of_nothing_in_particular_is_refused(simulator: Simulator) -> None:
    assert call(simulator, "POST", RESEND.format(create(simulator)), json={}).status_code == 422
    assert call(simulator, "POST", RESEND.format(999), json={"notifications": ["evse.changed"]}).status_code == 404


def test_an_update_sets_the_options_that_it_names_and_no_others(simulator: Simulator) -> None:
    body = subscription(URL, "evse.changed")
    made = call(simulator, "POST", SUBSCRIPTIONS, json=body | {"skipRoamingInfrastructure": True}).json()["data"]
    assert made["skipRoamingInfrastructure"] is True
    changes = body | {"suppressSelfNotifications": True}
    changed = call(simulator, "PUT", f"{SUBSCRIPTIONS}/{made['id']}", json=changes).json()
    assert changed["data"] == {"id": made["id"], **changes}
