from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from ampeco import errors
from ampeco.api.client import Client
from tests.unit.ampeco.samples import sample
from tests.unit.ampeco.tenant import TOKEN, FakeTenant, answer

SESSION_PARTS = {
    "withAuthorization": "true",
    "withChargingPeriods": "true",
    "withPriceBreakdown": "true",
    "withChargingPeriodsPriceBreakdown": "true",
}

READS: list[tuple[str, Callable[[Client], object]]] = [
    ("sessions/v1.0/7", lambda client: client.session(7)),
    ("charge-points/v2.0/7", lambda client: client.charge_point(7)),
    ("evses/v2.1/7", lambda client: client.evse(7)),
    ("locations/v2.0/7", lambda client: client.location(7)),
    ("evses/v2.0/7/latest-hardware-status-log", lambda client: client.evse_hardware_status(7)),
    ("charge-points/v2.0/7/latest-hardware-status-log", lambda client: client.charge_point_hardware_status(7)),
    ("charge-points/v2.0/7/latest-network-status-log", lambda client: client.charge_point_network_status(7)),
]


class TestReads:
    @pytest.mark.parametrize(("path", "read"), READS)
    def test_each_read_asks_its_own_path_with_the_token(self, path: str, read: Callable[[Client], object]) -> None:
        tenant = FakeTenant(answer({"message": "The record is not found"}, 404))

        with tenant.client() as client, pytest.raises(errors.NotFound):
            read(client)

        assert tenant.calls == [f"GET /public-api/resources/{path}"]
        assert tenant.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"
        assert tenant.requests[0].headers["Accept"] == "application/json"

    def test_a_session_is_read_whole(self) -> None:
        tenant = FakeTenant(answer(sample("rest/session_read.json")))

        with tenant.client() as client:
            read = client.session(77120)

        assert tenant.query() == SESSION_PARTS
        assert read.resource.id == 77120
        assert read.resource.energy_wh == Decimal(23410)
        assert read.raw == sample("rest/session_read.json")["data"]

    def test_a_charge_point_and_an_evse_are_read_with_their_parts(self) -> None:
        tenant = FakeTenant(answer(sample("rest/charge_point_read.json")), answer(sample("rest/evse_read.json")))

        with tenant.client() as client:
            charge_point = client.charge_point(418).resource
            evse = client.evse(902).resource

        assert tenant.query(0) == {"include[]": "lastBootNotification"}
        assert tenant.query(1) == {"include[]": "connectors"}
        assert (charge_point.status, charge_point.network_status) == ("enabled", "available")
        assert evse.connectors is not None
        assert (evse.charge_point_id, evse.connectors[0].type) == (418, "ccs2")

    def test_a_location_is_read_with_its_names(self) -> None:
        name = [{"locale": "bg", "translation": "Кей"}, {"locale": "en", "translation": "Quay"}]
        tenant = FakeTenant(answer({"data": {"id": 66, "name": name}}))

        with tenant.client() as client:
            location = client.location(66).resource

        assert (location.default_name, location.name["bg"]) == ("Quay", "Кей")

    def test_a_status_log_entry_has_its_own_time(self) -> None:
        tenant = FakeTenant(
            answer(sample("rest/latest_hardware_status_log.json")),
            answer({"data": {"status": "long-term unavailable", "timestamp": "2026-03-04T07:01:10Z"}}),
        )

        with tenant.client() as client:
            hardware = client.evse_hardware_status(902).resource
            network = client.charge_point_network_status(418).resource

        assert (hardware.status, hardware.timestamp) == ("charging", datetime(2026, 3, 4, 7, 4, tzinfo=UTC))
        assert network.status == "long_term_unavailable"

    @pytest.mark.parametrize("body", [{"data": None}, {"data": []}, {}])
    def test_an_empty_status_log_is_not_found(self, body: object) -> None:
        tenant = FakeTenant(answer(body))

        with tenant.client() as client, pytest.raises(errors.NotFound, match="nothing was ever logged"):
            client.evse_hardware_status(902)

    def test_an_answer_without_the_data_wrapper_is_read_too(self) -> None:
        tenant = FakeTenant(answer(sample("rest/session_read.json")["data"]))

        with tenant.client() as client:
            assert client.session(77120).resource.id == 77120

    def test_secrets_are_neither_in_the_resource_nor_in_its_raw_json(self) -> None:
        body = sample("rest/charge_point_read.json")
        body["data"].update(pin="hunter2", sharingCode="hunter2")
        body["data"]["network"]["password"] = "hunter2"
        tenant = FakeTenant(answer(body))

        with tenant.client() as client:
            read = client.charge_point(418)

        assert "hunter2" not in repr(read)

    @pytest.mark.parametrize("body", [{"data": []}, {"data": None}, [], None, {"data": {"id": "x"}}, {"data": {}}])
    def test_a_success_that_is_not_the_resource_is_malformed(self, body: object) -> None:
        tenant = FakeTenant(answer(body))

        with tenant.client() as client, pytest.raises(errors.Malformed):
            client.session(7)

        assert len(tenant.requests) == 1

    def test_a_malformed_answer_names_the_fields_and_not_their_values(self) -> None:
        tenant = FakeTenant(answer({"data": {"id": 7, "lastUpdatedAt": "driver@example.com"}}))

        with tenant.client() as client, pytest.raises(errors.Malformed, match="Session 7: lastUpdatedAt: ") as caught:
            client.session(7)

        assert "driver@example.com" not in str(caught.value)
        assert caught.value.__context__ is None


class TestTenantTime:
    def test_a_read_is_dated_by_the_tenants_clock_at_its_begin(self) -> None:
        # Given a tenant whose clock runs a year ahead of ours
        tenant = FakeTenant(answer(sample("rest/evse_read.json"), Date="Thu, 04 Mar 2100 07:00:00 GMT"))

        # When
        with tenant.client() as client:
            read = client.evse(902)

        # Then
        answered_at = datetime(2100, 3, 4, 7, tzinfo=UTC)
        assert answered_at - timedelta(seconds=5) < read.tenant_time < answered_at

    @pytest.mark.parametrize(
        "date",
        [
            "",
            "yesterday",
            "Thu, 99 Mar 2100 07:00:00 GMT",
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Sat, 04 Mar 9000 07:00:00 GMT",
        ],
    )
    def test_without_a_usable_date_our_own_clock_stands_in(self, date: str) -> None:
        tenant = FakeTenant(answer(sample("rest/evse_read.json"), Date=date))
        before = datetime.now(UTC)

        with tenant.client() as client:
            read = client.evse(902)

        assert before <= read.tenant_time <= datetime.now(UTC)

    def test_a_record_that_is_gone_is_dated_likewise(self) -> None:
        tenant = FakeTenant(answer({"message": "gone"}, 404, Date="Thu, 04 Mar 2100 07:00:00 GMT"))

        with tenant.client() as client, pytest.raises(errors.NotFound) as caught:
            client.evse(902)

        assert caught.value.tenant_time.year == 2100


class TestFilters:
    def test_filters_and_page_size_are_spelled_as_ampeco_spells_them(self) -> None:
        tenant = FakeTenant(answer({"data": []}))
        after = datetime(2026, 3, 4, 9, 30, 15, 999999, tzinfo=timezone(timedelta(hours=2)))

        with tenant.client(per_page=25) as client:
            list(client.charge_points(last_updated_after=after, roaming=False, location_id=66, name="Quay", tag=None))

        assert tenant.query() == {
            "per_page": "25",
            "filter[lastUpdatedAfter]": "2026-03-04T07:30:15Z",
            "filter[roaming]": "false",
            "filter[locationId]": "66",
            "filter[name]": "Quay",
            "include[]": "lastBootNotification",
        }

    def test_a_filter_by_a_time_without_a_zone_is_refused(self) -> None:
        with FakeTenant().client() as client, pytest.raises(ValueError, match="needs a zone"):
            client.sessions(last_updated_after=datetime(2026, 3, 4))  # noqa: DTZ001

    @pytest.mark.parametrize(
        ("listing", "path", "query"),
        [
            (
                Client.sessions,
                "sessions/v1.0",
                {**SESSION_PARTS, "cursor": ""},
            ),
            (Client.charge_points, "charge-points/v2.0", {"include[]": "lastBootNotification"}),
            (Client.evses, "evses/v2.1", {"include[]": "connectors"}),
            (Client.locations, "locations/v2.0", {"include[]": "chargingZones"}),
            (Client.authorizations, "authorizations/v2.1", {"cursor": ""}),
        ],
    )
    def test_each_listing_asks_for_whole_resources_and_older_ones_for_a_cursor(
        self, listing: Callable[[Client], object], path: str, query: dict[str, str]
    ) -> None:
        tenant = FakeTenant(answer({"data": []}))

        with tenant.client() as client:
            assert list(listing(client)) == []  # type: ignore[call-overload]

        assert tenant.calls == [f"GET /public-api/resources/{path}"]
        assert tenant.query() == {"per_page": "100", **query}


class TestCalls:
    def test_each_attempt_is_reported_with_its_failure_and_its_duration(self) -> None:
        tenant = FakeTenant(answer({"message": "Down."}, 502), answer(sample("rest/session_read.json")))
        calls: list[tuple[type[errors.ApiError] | None, float]] = []

        with tenant.client(after_call=lambda failure, seconds: calls.append((failure, seconds))) as client:
            client.session(77120)

        assert [failure for failure, _ in calls] == [errors.Unavailable, None]
        assert all(0 <= seconds < 60 for _, seconds in calls)
