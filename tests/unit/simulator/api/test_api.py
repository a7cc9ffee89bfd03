"""The API's reads: pages, filters, parts, refusals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from ampeco.api.client import Client
from simulator.app import Simulator
from simulator.settings import Faults
from tests.unit.simulator.support import RESOURCES, START, SUBSCRIPTIONS, TOKEN, call

SESSIONS = f"{RESOURCES}/sessions/v1.0"
LISTINGS = ["sessions/v1.0", "charge-points/v2.0", "evses/v2.1", "locations/v2.0"]
LISTINGS += ["authorizations/v2.1", "transactions/v1.0"]


def sync_run(simulator: Simulator, path: str, query: dict[str, Any]) -> list[Any]:
    """Every id of a listing, by ``links.next``."""
    answer = call(simulator, "GET", path, params=query).json()
    ids = [row["id"] for row in answer["data"]]
    while (following := answer["links"]["next"]) is not None:
        answer = call(simulator, "GET", following).json()
        ids += [row["id"] for row in answer["data"]]
    return ids


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("first", [{"cursor": ""}, {"cursor": "null"}, {}], ids=["empty", "null", "none"])
def test_a_sync_run_meets_every_entity_exactly_once(simulator: Simulator, listing: str, first: dict[str, str]) -> None:
    tenant = simulator.fleet.tenant
    by_name: dict[str, dict[int, Any]] = {
        "sessions": tenant.sessions,
        "charge-points": tenant.charge_points,
        "evses": tenant.evses,
        "locations": tenant.locations,
        "authorizations": tenant.authorizations,
        "transactions": tenant.transactions,
    }
    entities = by_name[listing.partition("/")[0]]
    synced = sync_run(simulator, f"{RESOURCES}/{listing}", {"per_page": "3", **first})
    expected = [entity.id for entity in entities.values() if not getattr(entity, "is_deleted", False)]
    assert sorted(int(one) for one in synced) == sorted(expected)


def test_a_sync_run_lists_once_what_changes_and_appears_during_it(simulator: Simulator) -> None:
    before = set(simulator.fleet.tenant.sessions)
    answer = call(simulator, "GET", SESSIONS, params={"cursor": "", "per_page": 5}).json()
    synced = [int(row["id"]) for row in answer["data"]]
    while (following := answer["links"]["next"]) is not None:
        simulator.fleet.advance(simulator.fleet.now + timedelta(minutes=20))
        answer = call(simulator, "GET", following).json()
        synced += [int(row["id"]) for row in answer["data"]]
    assert len(synced) == len(set(synced))
    assert before <= set(synced)


def test_a_sync_run_by_page_number_lists_once_what_appears_during_it(simulator: Simulator) -> None:
    before, synced, page, last = set(simulator.fleet.tenant.sessions), [], 1, 1
    while page <= last:
        answer = call(simulator, "GET", SESSIONS, params={"page": page, "per_page": 5}).json()
        synced += [int(row["id"]) for row in answer["data"]]
        simulator.fleet.advance(simulator.fleet.now + timedelta(minutes=30))
        page, last = page + 1, answer["meta"]["last_page"]
    assert len(synced) == len(set(synced))
    assert before < set(synced)


def test_a_page_holds_as_many_as_were_asked_for(simulator: Simulator) -> None:
    simulator.fleet.advance(START + timedelta(hours=48))
    for per_page in (1, 100):
        answer = call(simulator, "GET", SESSIONS, params={"cursor": "", "per_page": per_page}).json()
        assert len(answer["data"]) == answer["meta"]["per_page"] == per_page


def test_older_listings_page_by_number_until_a_cursor_is_given(simulator: Simulator) -> None:
    numbered = call(simulator, "GET", SESSIONS, params={"per_page": 2, "page": 2}).json()
    assert numbered["meta"] | {"links": []} == {
        "current_page": 2,
        "from": 3,
        "last_page": -(-numbered["meta"]["total"] // 2),
        "links": [],
        "path": f"http://tenant.test{SESSIONS}",
        "per_page": 2,
        "to": 4,
        "total": len(simulator.fleet.tenant.sessions),
    }
    cursored = call(simulator, "GET", SESSIONS, params={"per_page": 2, "cursor": ""}).json()
    assert set(cursored["meta"]) == {"path", "per_page", "next_cursor", "prev_cursor"}


def test_links_keep_the_filters(simulator: Simulator) -> None:
    query = {"filter[status]": "finished", "per_page": "2", "cursor": "", "withAuthorization": "true"}
    answer = call(simulator, "GET", SESSIONS, params=query).json()
    following = call(simulator, "GET", answer["links"]["next"]).json()
    assert {row["status"] for row in following["data"]} == {"finished"}
    assert all("authorization" in row for row in following["data"])


@pytest.mark.parametrize("listing", LISTINGS)
def test_last_updated_after_and_before_are_inclusive(simulator: Simulator, listing: str) -> None:
    path = f"{RESOURCES}/{listing}"
    rows = call(simulator, "GET", path).json()["data"]
    limit = sorted(row["lastUpdatedAt"] for row in rows)[len(rows) // 2]
    expected = {
        "After": [row["id"] for row in rows if row["lastUpdatedAt"] >= limit],
        "Before": [row["id"] for row in rows if row["lastUpdatedAt"] <= limit],
    }
    for name, ids in expected.items():
        found = call(simulator, "GET", path, params={f"filter[lastUpdated{name}]": limit}).json()["data"]
        assert [row["id"] for row in found] == ids
        assert limit in {row["lastUpdatedAt"] for row in found}


@pytest.mark.parametrize("spelling", ["2026-03-04T00:30:00Z", "2026-03-04T02:30:00+02:00", "2026-03-04T00:30:00"])
def test_a_filters_time_is_read_in_each_of_the_documented_forms(simulator: Simulator, spelling: str) -> None:
    found = call(simulator, "GET", SESSIONS, params={"filter[startedAfter]": spelling}).json()["data"]
    limit = datetime(2026, 3, 4, 0, 30, tzinfo=UTC)
    tenant = simulator.fleet.tenant
    assert [int(row["id"]) for row in found] == [one.id for one in tenant.sessions.values() if one.started_at >= limit]


@pytest.mark.parametrize(
    ("name", "field"), [("evseId", "evseId"), ("chargePointId", "chargePointId"), ("status", "status")]
)
def test_sessions_are_filtered_by_what_they_hold(simulator: Simulator, name: str, field: str) -> None:
    rows = call(simulator, "GET", SESSIONS).json()["data"]
    wanted = rows[-1][field]
    found = call(simulator, "GET", SESSIONS, params={f"filter[{name}]": wanted}).json()["data"]
    assert [row["id"] for row in found] == [row["id"] for row in rows if row[field] == wanted]


def test_a_status_log_is_filtered_by_time_and_ends_with_the_latest(simulator: Simulator) -> None:
    evse = max(simulator.fleet.tenant.evses.values(), key=lambda one: len(one.hardware))
    path = f"{RESOURCES}/evses/v2.0/{evse.id}"
    limit = evse.hardware[-2].at
    params = {"filter[createdAfter]": limit.isoformat()}
    found = call(simulator, "GET", f"{path}/hardware-status-logs", params=params).json()["data"]
    assert [row["status"] for row in found] == [one.status for one in evse.hardware if one.at >= limit]
    assert call(simulator, "GET", f"{path}/latest-hardware-status-log").json()["data"] == found[-1]


def test_parts_are_there_only_when_they_are_asked_for(simulator: Simulator) -> None:
    def keys(path: str, query: str = "") -> set[str]:
        return set(call(simulator, "GET", f"{RESOURCES}/{path}{query}").json()["data"])

    session = next(iter(simulator.fleet.tenant.sessions))
    assert keys(f"sessions/v1.0/{session}").isdisjoint({"authorization", "chargingPeriods"})
    assert keys(f"sessions/v1.0/{session}", "?withAuthorization=true&withChargingPeriods=1") >= {
        "authorization",
        "chargingPeriods",
    }
    assert "connectors" not in keys("evses/v2.1/10000")
    assert "connectors" in keys("evses/v2.1/10000", "?include[]=connectors")
    assert "lastBootNotification" not in keys("charge-points/v2.0/400")
    assert "lastBootNotification" in keys("charge-points/v2.0/400", "?include[0]=lastBootNotification")
    assert "chargePointId" not in keys("charge-points/v2.0/400/evses/10000")


def test_the_live_status_and_the_resource_spell_the_network_status_each_in_its_own_way(simulator: Simulator) -> None:
    charge_point = simulator.fleet.tenant.charge_points[400]
    charge_point.network[-1].status = "temporarily unavailable"
    live = call(simulator, "GET", f"{RESOURCES}/charge-points/v1.0/400/status").json()["data"]
    resource = call(simulator, "GET", f"{RESOURCES}/charge-points/v2.0/400").json()["data"]
    assert (live["networkStatus"], resource["networkStatus"]) == ("temporarily unavailable", "temporarily_unavailable")
    assert {evse["id"] for evse in live["evses"]} == {10000, 10004}


def test_what_was_deleted_is_not_found_and_not_listed(simulator: Simulator) -> None:
    simulator.fleet.tenant.evses[10000].is_deleted = True
    for path in ("evses/v2.1/10000", "evses/v2.0/10000/latest-hardware-status-log"):
        assert call(simulator, "GET", f"{RESOURCES}/{path}").status_code == 404
    listed = call(simulator, "GET", f"{RESOURCES}/evses/v2.1").json()["data"]
    assert 10000 not in {row["id"] for row in listed}


@pytest.mark.parametrize("token", [None, "", "another"])
def test_a_missing_or_wrong_token_is_401_and_an_unknown_path_no_different(
    simulator: Simulator, token: str | None
) -> None:
    for path in (SESSIONS, SUBSCRIPTIONS, "/public-api/nothing"):
        answer = call(simulator, "GET", path, token=token)
        assert (answer.status_code, answer.json()) == (401, {"message": "Unauthenticated."})


@pytest.mark.parametrize(
    "path",
    ["sessions/v1.0/1", "charge-points/v2.0/1", "nothing/v1.0", "evses/v2.1/x", "evses/v2.1/" + "1" * 5_000],
    ids=["session", "charge point", "path", "no number", "endless number"],
)
def test_what_does_not_exist_is_404_with_a_message(simulator: Simulator, path: str) -> None:
    answer = call(simulator, "GET", f"{RESOURCES}/{path}")
    assert answer.status_code == 404
    assert set(answer.json()) == {"message"}


@pytest.mark.parametrize(
    "query",
    [
        *("per_page=0", "per_page=101", "per_page=x", "page=0", "cursor=@@", "filter[startedAfter]=soon"),
        *("filter[no]=1", "per_page=" + "1" * 5_000),
    ],
    ids=lambda query: query[:24],
)
def test_what_cannot_be_asked_is_422_and_names_the_parameter(simulator: Simulator, query: str) -> None:
    answer = call(simulator, "GET", f"{SESSIONS}?{query}")
    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == [query.partition("=")[0]]


def test_a_forbidden_resource_is_403_and_others_are_not(simulator: Simulator) -> None:
    simulator.fault_injector.faults = Faults(api_forbidden=frozenset({"sessions"}))
    answer = call(simulator, "GET", SESSIONS)
    assert (answer.status_code, answer.json()) == (403, {"message": "This action is unauthorized."})
    assert call(simulator, "GET", f"{RESOURCES}/evses/v2.1").status_code == 200


def test_a_limit_on_calls_is_kept_and_shown(simulator: Simulator) -> None:
    simulator.fault_injector.faults = Faults(api_calls_a_minute=3)
    answers = [call(simulator, "GET", SESSIONS) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0", "0"]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert answers[-1].headers["X-RateLimit-Limit"] == "3"


@pytest.mark.parametrize(("fault", "status"), [("api_429", 429), ("api_500", 500)])
def test_a_share_of_one_fails_every_call(simulator: Simulator, fault: str, status: int) -> None:
    simulator.fault_injector.faults = Faults.model_validate({fault: 1})
    answer = call(simulator, "GET", SESSIONS)
    assert answer.status_code == status
    assert ("Retry-After" in answer.headers) == (status == 429)


def test_latency_is_added_to_each_answer(simulator: Simulator) -> None:
    simulator.fault_injector.faults = Faults(api_latency_ms=120)
    started = datetime.now(UTC)
    call(simulator, "GET", SESSIONS)
    assert datetime.now(UTC) - started >= timedelta(milliseconds=120)


def test_the_date_header_shows_the_tenants_time(simulator: Simulator) -> None:
    answer = call(simulator, "GET", SESSIONS)
    assert parsedate_to_datetime(answer.headers["Date"]) == START + timedelta(hours=1)


def test_our_own_client_reads_the_tenant(simulator: Simulator) -> None:
    class Bridge(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = call(simulator, request.method, str(request.url), headers=dict(request.headers))
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    with Client("http://tenant.test", SecretStr(TOKEN), per_page=7, transport=Bridge()) as client:
        sessions = [answer.resource.id for answer in client.sessions()]
        evse = client.evse(10000).resource
        status = client.evse_hardware_status(10000).resource.status
    assert sessions == list(simulator.fleet.tenant.sessions)
    assert (evse.id, status) == (10000, simulator.fleet.tenant.evses[10000].status)
