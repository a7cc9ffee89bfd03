"""Every answer of the simulator is one that AMPECO could give."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jsonschema
import pytest

from simulator.app import Simulator
from simulator.settings import Faults, TenantSettings
from tests.contract.openapi import JsonSchema, load_document, response_schema

START = datetime(2026, 3, 4, tzinfo=UTC)
RESOURCES = "/public-api/resources"
SUBSCRIPTIONS = "/public-api/notifications/v2.0"
RESEND = "/public-api/actions/notifications/v1.0/{notification}/resend"

#: Every part that can be asked for.
PARTS = "withAuthorization=true&withChargingPeriods=true&include[]=connectors&include[]=lastBootNotification"

LISTINGS = ["sessions/v1.0", "charge-points/v2.0", "evses/v2.1", "locations/v2.0"]
LISTINGS += ["authorizations/v2.1", "transactions/v1.0", "reservations/v1.0", "tariffs/v1.0"]
LISTINGS += ["users/v1.0", "id-tags/v2.0", "partners/v2.0", "cdrs/v2.0"]

READS = [
    "sessions/v1.0/{session}",
    "sessions/v1.0/{session}/consumption-stats",
    "charge-points/v2.0/{chargePoint}",
    "charge-points/v2.0/{chargePoint}/evses",
    "charge-points/v2.0/{chargePoint}/hardware-status-logs",
    "charge-points/v2.0/{chargePoint}/network-status-logs",
    "charge-points/v2.0/{chargePoint}/latest-hardware-status-log",
    "charge-points/v2.0/{chargePoint}/latest-network-status-log",
    "charge-points/v1.0/{chargePoint}/status",
    "evses/v2.1/{evse}",
    "evses/v2.0/{evse}/hardware-status-logs",
    "evses/v2.0/{evse}/latest-hardware-status-log",
    "locations/v2.0/{location}",
    "authorizations/v2.1/{authorization}",
    "transactions/v1.0/{transaction}",
    "reservations/v1.0/{reservation}",
    "tariffs/v1.0/{tariff}",
    "users/v1.0/{user}",
    "id-tags/v2.0/{idTag}",
    "partners/v2.0/{partner}",
    "cdrs/v2.0/{cdr}",
]

SUBSCRIBE = {
    "via": "webhook",
    "notifications": ["evse.changed"],
    "webhook": {"callbackUrl": "https://receiver.test/ampeco"},
}


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    simulator = Simulator(TenantSettings(start=START), token="token")
    simulator.fleet.advance(START + timedelta(days=1))
    return simulator


def call(simulator: Simulator, method: str, path: str, *, token: str = "token", **request: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(simulator.guard),
            base_url="http://tenant.test",
            headers={"Authorization": f"Bearer {token}"},
        ) as client:
            return await client.request(method, path, **request)

    return asyncio.run(ask())


def entities(simulator: Simulator, path: str) -> Iterator[str]:
    """A path of each of some entities: a dozen, early and late ones."""
    tenant = simulator.fleet.tenant
    for name, held in (
        ("session", tenant.sessions),
        ("chargePoint", tenant.charge_points),
        ("evse", tenant.evses),
        ("location", tenant.locations),
        ("authorization", tenant.authorizations),
        ("transaction", tenant.transactions),
        ("reservation", tenant.reservations),
        ("tariff", tenant.tariffs),
        ("user", tenant.users),
        ("idTag", tenant.id_tags),
        ("partner", tenant.partners),
    ):
        if f"{{{name}}}" in path:
            live = [key for key, entity in held.items() if not getattr(entity, "is_deleted", False)]
            yield from (path.replace(f"{{{name}}}", str(key)) for key in live[:6] + live[-6:])


def fits(answer: httpx.Response, schema: JsonSchema) -> None:
    """Check an answer's body.

    The one departure: a tenant's own EVSE or location has no roaming operator, which the document
    gives no way to say; its `roamingOperatorId` is null.
    """
    problems = [
        f"{'.'.join(map(str, error.path))}: {error.message}"
        for error in jsonschema.Draft202012Validator(schema).iter_errors(answer.json())
        if not (error.instance is None and list(error.path)[-1:] == ["roamingOperatorId"])
    ]
    assert problems == []


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("query", ["per_page=100", "cursor=&per_page=100"])
def test_every_page_of_every_listing_fits_its_schema(simulator: Simulator, listing: str, query: str) -> None:
    path = f"{RESOURCES}/{listing}"
    schema = response_schema(path, "get", 200)
    following: str | None = f"{path}?{query}&{PARTS}"
    while following is not None:
        answer = call(simulator, "GET", following)
        assert answer.status_code == 200
        fits(answer, schema)
        following = answer.json()["links"]["next"]


@pytest.mark.parametrize("read", READS)
def test_every_read_fits_its_schema(simulator: Simulator, read: str) -> None:
    schema = response_schema(f"{RESOURCES}/{read}", "get", 200)
    for path in entities(simulator, f"{RESOURCES}/{read}"):
        answer = call(simulator, "GET", f"{path}?{PARTS}")
        assert answer.status_code == 200
        fits(answer, schema)


def test_every_answer_about_subscriptions_fits_its_schema(simulator: Simulator) -> None:
    created = call(simulator, "POST", SUBSCRIPTIONS, json=SUBSCRIBE)
    fits(created, response_schema(SUBSCRIPTIONS, "post", 201))
    one, held = f"{SUBSCRIPTIONS}/{created.json()['data']['id']}", f"{SUBSCRIPTIONS}/{{notification}}"
    fits(call(simulator, "GET", SUBSCRIPTIONS), response_schema(SUBSCRIPTIONS, "get", 200))
    fits(call(simulator, "GET", one), response_schema(held, "get", 200))
    fits(call(simulator, "PUT", one, json=SUBSCRIBE), response_schema(held, "put", 200))
    resend = RESEND.replace("{notification}", str(created.json()["data"]["id"]))
    assert call(simulator, "POST", resend, json={"notifications": ["evse.changed"]}).status_code == 202
    again = call(simulator, "POST", resend, json={"notifications": ["evse.changed"]})
    assert again.status_code == 409
    fits(again, response_schema(RESEND, "post", 409))


def test_an_evse_of_a_charge_point_fits_its_schema(simulator: Simulator) -> None:
    schema = response_schema(f"{RESOURCES}/charge-points/v2.0/{{chargePoint}}/evses/{{evse}}", "get", 200)
    for evse in simulator.fleet.tenant.live_evses()[:12]:
        answer = call(
            simulator, "GET", f"{RESOURCES}/charge-points/v2.0/{evse.charge_point_id}/evses/{evse.id}?{PARTS}"
        )
        assert answer.status_code == 200
        fits(answer, schema)


@pytest.mark.parametrize("status", [401, 404, 429])
@pytest.mark.parametrize("read", READS)
def test_every_refusal_of_a_read_fits_its_schema(simulator: Simulator, read: str, status: int) -> None:
    path = f"{RESOURCES}/{read}"
    documented = load_document()["paths"][path]["get"]["responses"]
    simulator.fault_injector.faults = Faults(api_429=1 if status == 429 else 0)
    try:
        answer = call(simulator, "GET", re.sub(r"{\w+}", "1", path), token="wrong" if status == 401 else "token")
    finally:
        simulator.fault_injector.faults = Faults()
    assert answer.status_code == status
    if str(status) in documented:
        fits(answer, response_schema(path, "get", status))
    else:  # some reads do not tell of each; the shape is the same everywhere
        assert set(answer.json()) == {"message"}


@pytest.mark.parametrize("status", [401, 403, 404, 422, 429])
def test_every_refusal_fits_its_schema(simulator: Simulator, status: int) -> None:
    path, method, request = f"{SUBSCRIPTIONS}/{{notification}}", "PUT", {"json": SUBSCRIBE}
    faults = {403: Faults(api_forbidden=frozenset({"notifications"})), 429: Faults(api_429=1)}
    made = call(simulator, "POST", SUBSCRIPTIONS, json=SUBSCRIBE).json()["data"]["id"]
    simulator.fault_injector.faults = faults.get(status, Faults())
    try:
        answer = call(
            simulator,
            method,
            path.replace("{notification}", "999999" if status == 404 else str(made)),
            token="wrong" if status == 401 else "token",
            **({"json": {}} if status == 422 else request),
        )
    finally:
        simulator.fault_injector.faults = Faults()
    assert answer.status_code == status
    fits(answer, response_schema(path, method, status))
