from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from ampeco import errors
from tests.unit.ampeco.samples import sample
from tests.unit.ampeco.tenant import FakeTenant, answer

AFTER = datetime(2026, 3, 4, 7, tzinfo=UTC)


def evses(*ids: object) -> list[dict[str, object]]:
    return [{"id": evse_id} for evse_id in ids]


def page(*ids: object, next_link: str | None = None, **more: Any) -> httpx.Response:
    return answer({"data": evses(*ids), "links": {"next": next_link}, **more})


def listed(tenant: FakeTenant) -> list[int]:
    with tenant.client() as client:
        return [found.resource.id for found in client.evses(last_updated_after=AFTER)]


def test_pages_are_followed_until_there_is_no_next_one() -> None:
    tenant = FakeTenant(
        page(1, 2, next_link="https://tenant.example.com/public-api/resources/evses/v2.1?per_page=2&cursor=b"),
        page(3, next_link="https://tenant.example.com/public-api/resources/evses/v2.1?per_page=2&cursor=c"),
        page(4),
    )

    assert listed(tenant) == [1, 2, 3, 4]
    assert [tenant.query(position).get("cursor") for position in range(3)] == [None, "b", "c"]


def test_a_next_link_that_forgot_our_filters_keeps_them() -> None:
    tenant = FakeTenant(page(1, next_link="https://tenant.example.com/x?cursor=b&include%5B0%5D=connectors"), page(2))

    listed(tenant)

    assert tenant.query(1) == {
        "per_page": "100",
        "filter[lastUpdatedAfter]": "2026-03-04T07:00:00Z",
        "cursor": "b",
        "include[0]": "connectors",
    }


@pytest.mark.parametrize(
    "link",
    [
        "https://elsewhere.example.com/public-api/resources/evses/v2.1?cursor=b",
        "http://tenant.example.com/public-api/resources/evses/v2.1?cursor=b",
        "https://tenant.example.com@elsewhere.example.com/?cursor=b",
        "//elsewhere.example.com/?cursor=b",
        "http://[bad?cursor=b",
        "/public-api/resources/evses/v2.1?cursor=b",
        "?cursor=b",
    ],
)
def test_whatever_a_next_link_names_the_token_goes_to_the_tenant_only(link: str) -> None:
    tenant = FakeTenant(page(1, next_link=link), page(2))

    assert listed(tenant) == [1, 2]
    assert {str(request.url.copy_with(query=None)) for request in tenant.requests} == {
        "https://tenant.example.com/public-api/resources/evses/v2.1"
    }


@pytest.mark.parametrize("key", ["next_cursor", "cursor"])
def test_without_links_the_cursor_is_taken_from_meta(key: str) -> None:
    tenant = FakeTenant(answer({"data": evses(1), "meta": {key: "b"}}), answer({"data": evses(2), "meta": {key: None}}))

    assert listed(tenant) == [1, 2]
    assert tenant.query(1)["cursor"] == "b"


def test_a_next_link_of_null_ends_the_listing_whatever_meta_says() -> None:
    tenant = FakeTenant(page(1, meta={"cursor": "b"}))

    assert listed(tenant) == [1]


def test_pages_by_number_are_followed_too_where_a_tenant_insists_on_them() -> None:
    session = sample("rest/session_read.json")["data"]
    body = {"data": [session], "links": {"next": "https://tenant.example.com/x?page=2"}}
    tenant = FakeTenant(answer(body), answer({"data": [], "links": {"next": None}}))

    with tenant.client() as client:
        assert len(list(client.sessions())) == 1

    assert tenant.query(0)["cursor"] == ""
    assert tenant.query(1)["page"] == "2"
    assert "cursor" not in tenant.query(1)


@pytest.mark.parametrize("body", [evses(1), {"data": evses(1)}, {"data": evses(1), "links": None, "meta": []}])
def test_a_listing_without_links_is_one_page(body: object) -> None:
    assert listed(FakeTenant(answer(body))) == [1]


@pytest.mark.parametrize("body", [{"data": None}, {"data": {"id": 1}}, {"message": "hello"}, None, "text"])
def test_a_listing_without_a_list_is_malformed(body: object) -> None:
    with pytest.raises(errors.Malformed, match="without a list"):
        listed(FakeTenant(answer(body)))


def test_a_listing_that_leads_back_to_a_page_it_gave_is_malformed() -> None:
    back = "https://tenant.example.com/x?cursor=b"
    tenant = FakeTenant(page(1, next_link=back), page(2, next_link="?cursor=c"), page(3, next_link=back))

    with pytest.raises(errors.Malformed, match="leads back"):
        listed(tenant)

    assert len(tenant.requests) == 3


def test_resources_that_cannot_be_read_do_not_hide_those_after_them_and_are_reported_once_at_the_end() -> None:
    tenant = FakeTenant(page(1, "x", next_link="?cursor=b"), page(None, 4))

    with tenant.client() as client:
        listing = client.evses()

        assert [next(listing).resource.id, next(listing).resource.id] == [1, 4]
        with pytest.raises(errors.Malformed, match="2 of the listed resources cannot be read, the first: Evse x: id: "):
            next(listing)
        assert list(listing) == []


def test_after_a_rate_limit_a_listing_continues_with_the_page_it_could_not_read() -> None:
    # Given
    tenant = FakeTenant(
        page(1, next_link="?cursor=b"),
        httpx.Response(429, headers={"Retry-After": "7"}),
        page(2, next_link="?cursor=c"),
        page(3),
    )

    with tenant.client() as client:
        listing = client.evses()
        assert next(listing).resource.id == 1

        # When
        with pytest.raises(errors.RateLimited):
            next(listing)

        # Then
        assert [read.resource.id for read in listing] == [2, 3]
    assert [tenant.query(position).get("cursor") for position in range(4)] == [None, "b", "b", "c"]


def test_each_page_is_fetched_only_when_it_is_needed() -> None:
    tenant = FakeTenant(page(1, 2, next_link="?cursor=b"), page(3))

    with tenant.client() as client:
        listing = client.evses()
        assert tenant.requests == []
        next(listing), next(listing)
        assert len(tenant.requests) == 1
