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

from simulator.api.record_listings import LISTINGS as RECORDS
from simulator.api.routes import routes
from simulator.app import Simulator
from simulator.settings import Faults, TenantSettings
from tests.contract.openapi import (
    JsonSchema,
    is_deprecated,
    load_document,
    one_of_a_listing,
    query_parameters,
    response_schema,
)

START = datetime(2026, 3, 4, tzinfo=UTC)
RESOURCES = "/public-api/resources"
SUBSCRIPTIONS = "/public-api/notifications/v2.0"
RESEND = "/public-api/actions/notifications/v1.0/{notification}/resend"

#: The listings of the document that the simulator does not offer.
NOT_OFFERED = (
    "consents/v1.0",  # a consent has no id, so there is nothing to read or to mirror it by
    "contact-details/v2.0",  # one object and no listing
    "settings/v1.0",  # one object and no listing
)

#: The listings that are newer than the document, each with the one whose schema it is checked against.
NEWER = {
    "users/v1.1": "users/v1.0",
    "partner-revenues/v1.2": "partner-revenues/v1.1",
    "partner-expenses/v1.2": "partner-expenses/v1.1",
    "partner-invites/v2.0": "partner-invites/v1.0",
    "sub-operators/v2.0": "sub-operators/v1.0",
}

#: Reads of one entity without a listing, and of parts of an entity.
READS = [
    "sessions/v1.0/{session}/consumption-stats",
    "charge-points/v2.0/{chargePoint}/evses",
    "charge-points/v2.0/{chargePoint}/hardware-status-logs",
    "charge-points/v2.0/{chargePoint}/network-status-logs",
    "charge-points/v2.0/{chargePoint}/latest-hardware-status-log",
    "charge-points/v2.0/{chargePoint}/latest-network-status-log",
    "charge-points/v1.0/{chargePoint}/status",
    "evses/v2.0/{evse}/hardware-status-logs",
    "evses/v2.0/{evse}/latest-hardware-status-log",
    "tariff-snapshots/v1.0/{tariffSnapshot}",
]

SUBSCRIBE = {
    "via": "webhook",
    "notifications": ["evse.changed"],
    "webhook": {"callbackUrl": "https://receiver.test/ampeco"},
}


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    simulator = Simulator(TenantSettings(start=START), token="token")
    simulator.fleet.advance(START + timedelta(days=2))
    return simulator


def listings() -> list[str]:
    """Every listing of the document that is neither deprecated nor a part of an entity."""
    try:
        paths: list[str] = [*load_document()["paths"]]
    except pytest.skip.Exception:  # the tests skip, and say so
        return []
    held = [path.removeprefix(f"{RESOURCES}/") for path in paths if path.startswith(f"{RESOURCES}/")]
    return [path for path in held if path.count("/") == 1 and "get" in entry(path) and not is_deprecated(full(path))]


def entry(path: str) -> dict[str, Any]:
    """What the document has of a path."""
    found: dict[str, Any] = load_document()["paths"][full(path)]
    return found


def full(path: str) -> str:
    return f"{RESOURCES}/{path}"


def read_of(listing: str) -> str | None:
    """The path of the document that reads one entity of a listing; None if there is none."""
    try:
        return one_of_a_listing(full(listing))
    except ValueError:
        return None


def short(listing: str) -> str | None:
    """The same without the part that all paths share."""
    return None if (path := read_of(listing)) is None else path.removeprefix(f"{RESOURCES}/")


def sample(schema: JsonSchema, name: str) -> str:
    """A value that a filter may have."""
    if "enum" in schema:
        return str(schema["enum"][0])
    return "2026-03-04T00:00:00Z" if re.search("After|Before|From|To$|Start$|End$|Since|valid", name) else "1"


def parts(path: str) -> str:
    """A query for every part that a read can be asked for."""
    named = []
    for name, schema in query_parameters(path).items():
        if name == "include":
            named += [f"include[]={part}" for part in schema["items"]["enum"]]
        elif name.startswith("with"):
            named.append(f"{name}=true")
    return "&".join(named)


DOCUMENTED = listings()
LISTINGS = {listing: listing for listing in DOCUMENTED if listing not in NOT_OFFERED} | NEWER
ENTITIES = [read for listing in DOCUMENTED if listing in LISTINGS and (read := short(listing))]

#: How a listing is asked for its first page.
MAX_PAGES = 40
PAGINGS = {"number": "per_page=2", "cursor": "cursor=&per_page=2", "long pages": "per_page=100"}


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
        ("tariffSnapshot", tenant.records["tariff-snapshots"]),
    ):
        if f"{{{name}}}" in path:
            live = [key for key, entity in held.items() if not getattr(entity, "is_deleted", False)]
            yield from (path.replace(f"{{{name}}}", str(key)) for key in live[:6] + live[-6:])


def fits(answer: httpx.Response, schema: JsonSchema) -> None:
    """Check an answer's body.

    The departures: a tenant's own EVSE or location has no roaming operator, which the document gives no
    way to say, so its `roamingOperatorId` is null; and a payment terminal fits several of the shapes of
    which the document demands exactly one.
    """
    problems = [
        f"{'.'.join(map(str, error.path))}: {error.message}"
        for error in jsonschema.Draft202012Validator(schema).iter_errors(answer.json())
        if not (error.instance is None and list(error.path)[-1:] == ["roamingOperatorId"])
        and not (error.validator == "oneOf" and "is valid under each of" in error.message)
    ]
    assert problems == []


def test_every_listing_of_the_document_is_offered_or_left_out_for_a_reason(simulator: Simulator) -> None:
    load_document()
    offered = {route.path.removeprefix(f"{RESOURCES}/") for route in routes(simulator.fleet) if "{" not in route.path}
    assert set(NOT_OFFERED) <= set(DOCUMENTED)
    assert offered == set(DOCUMENTED) - set(NOT_OFFERED) | set(NEWER)


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("paging", PAGINGS)
def test_every_page_of_every_listing_fits_its_schema(simulator: Simulator, listing: str, paging: str) -> None:
    documented = full(LISTINGS[listing])
    schema, ids, pages = response_schema(documented, "get", 200), [], 0
    following: str | None = f"{full(listing)}?{PAGINGS[paging]}&{parts(documented)}"
    while following is not None and pages < MAX_PAGES:
        answer = call(simulator, "GET", following)
        assert answer.status_code == 200
        fits(answer, schema)
        ids += [int(row["id"]) for row in answer.json()["data"]]
        following, pages = answer.json()["links"]["next"], pages + 1
    assert ids
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("listing", LISTINGS)
def test_every_listing_pages_as_the_document_says(simulator: Simulator, listing: str) -> None:
    known = query_parameters(full(LISTINGS[listing]))
    by_number, by_cursor = (
        call(simulator, "GET", f"{full(listing)}?{query}").json()["meta"] for query in ("per_page=2", "cursor=")
    )
    # Listings with neither parameter page as their answer says.
    if known.keys() & {"page", "cursor"}:
        assert ("current_page" in by_number) == ("page" in known)
        assert ("next_cursor" in by_cursor) == ("cursor" in known)


@pytest.mark.parametrize("listing", [record.path for record in RECORDS])
def test_every_documented_filter_of_records_is_known(simulator: Simulator, listing: str) -> None:
    filters = query_parameters(full(LISTINGS.get(listing, listing))).get("filter", {}).get("properties", {})
    for name, schema in filters.items():
        answer = call(simulator, "GET", f"{full(listing)}?filter[{name}]={sample(schema, name)}")
        assert answer.status_code == 200, name
    assert call(simulator, "GET", f"{full(listing)}?filter[noSuchFilter]=1").status_code == 422


@pytest.mark.parametrize("listing", LISTINGS)
def test_every_read_of_an_entity_fits_its_schema(simulator: Simulator, listing: str) -> None:
    documented = read_of(LISTINGS[listing])
    rows = call(simulator, "GET", f"{full(listing)}?per_page=12").json()["data"]
    if documented is None:
        assert call(simulator, "GET", f"{full(listing)}/{rows[0]['id']}").status_code == 404
        return
    schema = response_schema(documented, "get", 200)
    for row in rows:
        answer = call(simulator, "GET", f"{full(listing)}/{row['id']}?{parts(documented)}")
        assert answer.status_code == 200
        fits(answer, schema)


@pytest.mark.parametrize("read", READS)
def test_every_read_fits_its_schema(simulator: Simulator, read: str) -> None:
    schema = response_schema(full(read), "get", 200)
    for path in entities(simulator, full(read)):
        answer = call(simulator, "GET", path)
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
            simulator,
            "GET",
            f"{RESOURCES}/charge-points/v2.0/{evse.charge_point_id}/evses/{evse.id}?include[]=connectors",
        )
        assert answer.status_code == 200
        fits(answer, schema)


@pytest.mark.parametrize("status", [401, 404, 429])
@pytest.mark.parametrize("read", READS + ENTITIES)
def test_every_refusal_of_a_read_fits_its_schema(simulator: Simulator, read: str, status: int) -> None:
    path = f"{RESOURCES}/{read}"
    documented = load_document()["paths"][path]["get"]["responses"]
    simulator.fault_injector.faults = Faults(api_429=1 if status == 429 else 0)
    try:
        answer = call(
            simulator, "GET", re.sub(r"{\w+}", "999999999", path), token="wrong" if status == 401 else "token"
        )
    finally:
        simulator.fault_injector.faults = Faults()
    assert answer.status_code == status
    if str(status) in documented:
        fits(answer, response_schema(path, "get", status))
    else:  # some reads document only a few of them; the shape is the same everywhere
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
