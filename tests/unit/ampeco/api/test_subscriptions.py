from __future__ import annotations

import json

import httpx
import pytest

from ampeco import errors
from tests.unit.ampeco.samples import sample
from tests.unit.ampeco.tenant import FakeTenant, answer

SUBSCRIPTION = sample("rest/notification_subscription.json")
CALLBACK_URL = "https://hooks.example.com/ampeco"


def test_subscriptions_are_listed() -> None:
    tenant = FakeTenant(answer({"data": [SUBSCRIPTION["data"], {"id": 22, "via": "kafka"}]}))

    with tenant.client() as client:
        ours, kafka = client.subscriptions()

    assert (ours.id, ours.via) == (21, "webhook")
    assert ours.webhook is not None
    assert ours.webhook.callback_url == CALLBACK_URL
    assert "session.start.stop.notification" in ours.notifications
    assert (kafka.webhook, kafka.notifications) == (None, ())
    assert tenant.calls == ["GET /public-api/notifications/v2.0"]


def test_a_subscription_is_made_with_address_and_names() -> None:
    tenant = FakeTenant(answer(SUBSCRIPTION, 201))

    with tenant.client() as client:
        made = client.subscribe(CALLBACK_URL, ("evse.changed",))

    assert made.id == 21
    assert tenant.calls == ["POST /public-api/notifications/v2.0"]
    assert json.loads(tenant.requests[0].content) == {
        "via": "webhook",
        "notifications": ["evse.changed"],
        "webhook": {"callbackUrl": CALLBACK_URL},
    }


def test_making_a_subscription_is_never_repeated() -> None:
    tenant = FakeTenant(httpx.ReadTimeout("slow"))

    with tenant.client() as client, pytest.raises(errors.Unavailable):
        client.subscribe(CALLBACK_URL, ["evse.changed"])

    assert len(tenant.requests) == 1


def test_replacing_a_subscription_is_repeated() -> None:
    tenant = FakeTenant(httpx.ReadTimeout("slow"), answer(SUBSCRIPTION))

    with tenant.client() as client:
        client.update_subscription(21, CALLBACK_URL, ["evse.changed"])

    assert tenant.calls == ["PUT /public-api/notifications/v2.0/21"] * 2


def test_a_removal_whose_answer_was_lost_counts_as_done() -> None:
    tenant = FakeTenant(httpx.ReadTimeout("slow"), answer({"message": "The record is not found"}, 404))

    with tenant.client() as client:
        client.unsubscribe(21)

    assert tenant.calls == ["DELETE /public-api/notifications/v2.0/21"] * 2


def test_removing_what_was_never_there_is_not_found() -> None:
    tenant = FakeTenant(answer({"message": "The record is not found"}, 404))

    with tenant.client() as client, pytest.raises(errors.NotFound):
        client.unsubscribe(21)


def test_a_removal_is_answered_without_a_body() -> None:
    tenant = FakeTenant(httpx.Response(204))

    with tenant.client() as client:
        client.unsubscribe(21)

    assert len(tenant.requests) == 1


def test_a_change_repeats_all_that_we_do_not_set() -> None:
    further = {"skipRoamingInfrastructure": True, "partnerId": 3, "filter": {"x": [1]}, "createdAt": "2026-03-04"}
    listed = SUBSCRIPTION["data"] | further | {"webhook": {"callbackUrl": CALLBACK_URL, "headers": {"a": "1"}}}
    tenant = FakeTenant(answer({"data": [listed]}), answer({"data": listed}))
    with tenant.client() as client:
        (present,) = client.subscriptions()
        client.update_subscription(present.id, "https://new.example.com", ["evse.changed"], present.options)
    assert json.loads(tenant.requests[1].content) == {
        "skipRoamingInfrastructure": True,
        "partnerId": 3,
        "filter": {"x": [1]},
        "via": "webhook",
        "notifications": ["evse.changed"],
        "webhook": {"callbackUrl": "https://new.example.com", "headers": {"a": "1"}},
    }
