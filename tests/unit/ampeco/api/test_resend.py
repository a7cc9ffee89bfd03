"""Asking AMPECO to send again what it could not deliver."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import httpx
import pytest

from ampeco import errors
from ampeco.resources.charging import Subscription
from tests.unit.ampeco.tenant import FakeTenant, answer

SINCE = datetime(2026, 3, 4, 7, tzinfo=UTC)


def test_a_resend_names_what_is_wanted_and_when() -> None:
    tenant = FakeTenant(httpx.Response(202))

    with tenant.client() as client:
        client.resend(21, ["evse.changed"], SINCE, SINCE.replace(hour=9))

    assert tenant.calls == ["POST /public-api/actions/notifications/v1.0/21/resend"]
    assert json.loads(tenant.requests[0].content) == {
        "notifications": ["evse.changed"],
        "startTime": "2026-03-04T07:00:00Z",
        "endTime": "2026-03-04T09:00:00Z",
    }


def test_without_times_everything_is_wanted() -> None:
    tenant = FakeTenant(httpx.Response(202))

    with tenant.client() as client:
        client.resend(21, ["evse.changed"])

    assert json.loads(tenant.requests[0].content) == {"notifications": ["evse.changed"]}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (answer({"message": "too soon"}, 409), errors.Conflict),
        (answer({"message": "no", "errors": {"notifications": ["unknown"]}}, 422), errors.Invalid),
        (answer({"message": "slow down"}, 429, Retry_After="7"), errors.RateLimited),
        (answer({"message": "The record is not found"}, 404), errors.NotFound),
        (httpx.ReadTimeout("slow"), errors.Unavailable),
        (httpx.Response(500), errors.Unavailable),
    ],
)
def test_a_resend_that_is_not_accepted_is_never_repeated(
    reply: httpx.Response | Exception, error: type[errors.ApiError]
) -> None:
    tenant = FakeTenant(reply)

    with tenant.client() as client, pytest.raises(error):
        client.resend(21, ["evse.changed"])

    assert len(tenant.requests) == 1


@pytest.mark.parametrize(
    ("sent", "is_disabled"),
    [({}, False), ({"enabled": True}, False), ({"enabled": False}, True), ({"status": "disabled"}, True)],
)
def test_a_subscription_is_disabled_where_ampeco_says_so(sent: dict[str, object], is_disabled: bool) -> None:
    assert Subscription.model_validate({"id": 21, **sent}).is_disabled is is_disabled
