from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from ampeco.errors import NoHandler, UnknownNotification
from ampeco.notifications import payloads
from ampeco.notifications.catalogue import CATALOGUE, lookup
from ampeco.notifications.parsing import parse
from tests.unit.ampeco.samples import NOTIFICATIONS, sample

HANDLED = [name for name in NOTIFICATIONS if getattr(lookup(sample(name)["notification"]), "handler", None)]
UNHANDLED = [known.name for known in CATALOGUE if known.handler is None]

#: The least that each notification must hold to be of use.
MINIMAL: dict[str, dict[str, Any]] = {
    "session.start.stop.notification": {"sessionId": 1, "lastUpdatedAt": "2026-03-04T07:00:00Z"},
    "SessionStartStopNotification": {"sessionId": 1, "lastUpdatedAt": "2026-03-04T07:00:00Z"},
    "SessionUpdateNotification": {"session": {"id": "1", "lastUpdatedAt": "2026-03-04T07:00:00Z"}},
    "SessionMeterValuesNotification": {"sessionId": 1},
    "HardwareStatusNotification": {"chargePointId": 1, "timestamp": "2026-03-04T07:00:00Z"},
    "NetworkStatusNotification": {"chargePointId": 1, "timestamp": "2026-03-04T07:00:00Z"},
    "BootNotification": {"chargePointId": 1, "timestamp": "2026-03-04T07:00:00Z"},
    "chargePoint.changed": {"chargePointId": 1},
    "evse.changed": {"evseId": 1},
    "LocationChangedNotification": {"location": {"id": 1}},
    "ChargePointChangedNotification": {"chargePoint": {"id": 1}},
    "authorization.changed": {"authorizationId": 1},
    "AuthorizationNotification": {"authorizationId": 1},
    "transaction.changed": {"transactionId": 1},
    "reservation.changed": {"reservationId": 1},
    "cdr.received": {"id": "8f0e5a0e"},
    "TariffChangedNotification": {"tariff": {"id": 1}},
    "circuit.changed": {"circuitId": 1},
    "idTag.changed": {"idTagsId": 1},
    "installerJob.changed": {"id": 1},
    "parkingSpace.occupancyStatus.changed": {"parkingSpaceId": 1},
    "partner.changed": {"partnerId": 1},
    "partnerInvite.changed": {"partnerInviteId": 1},
    "roamingPlatform.changed": {"roamingPlatformId": 1},
    "settlementReport.created": {"id": 1},
    "SubOperatorChangedNotification": {"subOperator": {"id": 1}},
    "UserChangedNotification": {"user": {"id": "1"}},
    "chargePoint.dataTransferReceived": {"chargePointId": 1},
    "ChargePointSyncConfigurationNotification": {"chargePointId": 1},
    "chargingProfile.applied": {"chargePointId": 1, "appliedAt": "2026-03-04T07:00:00Z"},
    "CircuitConsumptionNotification": {},
    "DiagnosticsStatusNotification": {"chargePointId": 1, "lastUpdatedAt": "2026-03-04T07:00:00Z"},
    "SecurityEventNotification": {"chargePointId": 1, "timestamp": "2026-03-04T07:00:00Z"},
    "user.invoiceDetails.changed": {"userId": 1, "lastUpdatedAt": "2026-03-04T07:00:00Z"},
    "user.paymentMethod.changed": {"userId": 1, "lastUpdatedAt": "2026-03-04T07:00:00Z"},
    "user.subscription.changed": {"userId": 1, "lastUpdatedAt": "2026-03-04T07:00:00Z"},
    "user.subscriptionChanged": {"userId": 1, "lastUpdatedAt": "2026-03-04T07:00:00Z"},
    "userBalance.changed": {"userId": 1, "lastUpdatedAt": "2026-03-04T07:00:00Z"},
}


def parse_as(kind: type[payloads.Payload], body: dict[str, Any]) -> Any:
    payload = parse(body)
    assert isinstance(payload, kind)
    return payload


class TestParse:
    @pytest.mark.parametrize("name", HANDLED)
    def test_every_sample_that_we_keep_state_from_is_read_whole(self, name: str) -> None:
        payload = parse(sample(name))

        assert payload.model_extra == {}

    @pytest.mark.parametrize("name", UNHANDLED)
    def test_every_type_without_a_handler_is_known_and_says_so(self, name: str) -> None:
        with pytest.raises(NoHandler, match="no state is kept of"):
            parse({"notification": name})

    @pytest.mark.parametrize("body", [{}, {"notification": "later.added"}, {"notification": []}])
    def test_an_unknown_name_is_told_apart_from_a_broken_body(self, body: dict[str, Any]) -> None:
        with pytest.raises(UnknownNotification, match="not in the catalogue"):
            parse(body)

    def test_an_endless_name_does_not_fill_the_error(self) -> None:
        with pytest.raises(UnknownNotification) as caught:
            parse({"notification": "x" * 100_000})

        assert len(str(caught.value)) < 200

    def test_the_body_is_left_as_it_was(self) -> None:
        body = sample("ChargePointChangedNotification.json")

        parse(body)

        assert body == sample("ChargePointChangedNotification.json")


class TestRequired:
    def test_each_handled_notification_has_a_minimal_body_here(self) -> None:
        assert set(MINIMAL) == {known.name for known in CATALOGUE if known.handler}

    @pytest.mark.parametrize("name", MINIMAL)
    def test_what_identifies_and_orders_the_fact_is_enough(self, name: str) -> None:
        assert parse({"notification": name, **MINIMAL[name]})

    @pytest.mark.parametrize(("name", "key"), [(name, key) for name, body in MINIMAL.items() for key in body])
    def test_without_any_of_it_the_body_is_refused(self, name: str, key: str) -> None:
        body = {held: value for held, value in MINIMAL[name].items() if held != key}

        with pytest.raises(ValidationError) as caught:
            parse({"notification": name, **body})

        assert key in str(caught.value)

    @pytest.mark.parametrize("name", HANDLED)
    def test_every_other_field_may_be_null(self, name: str) -> None:
        # Given a sample of which all is null but the minimum
        body = sample(name)
        nulled = dict.fromkeys(body) | {"notification": body["notification"]}
        for key, value in MINIMAL[body["notification"]].items():
            nulled[key] = dict.fromkeys(body[key]) | value if isinstance(value, dict) else value

        # When
        payload = parse(nulled)

        # Then
        assert payload.notification == body["notification"]

    @pytest.mark.parametrize("name", HANDLED)
    def test_fields_that_ampeco_adds_are_kept(self, name: str) -> None:
        payload = parse({**sample(name), "addedLater": {"a": [1]}})

        assert payload.model_extra == {"addedLater": {"a": [1]}}

    @pytest.mark.parametrize("name", HANDLED)
    def test_a_body_nested_beyond_reason_is_refused_as_invalid(self, name: str) -> None:
        deep: dict[str, Any] = {}
        for _ in range(2000):
            deep = {"a": deep}

        with pytest.raises(ValidationError, match="nested deeper"):
            parse({**sample(name), "addedLater": deep})


class TestSessions:
    def test_both_names_of_start_and_stop_are_read_alike(self) -> None:
        current = parse_as(payloads.SessionStartStop, sample("session.start.stop.notification.stop.json"))
        deprecated = parse_as(payloads.SessionStartStop, sample("SessionStartStopNotification.stop.json"))

        assert (current.session_id, current.action, current.meter_stop) == (77120, "stop", Decimal(1222730))
        assert deprecated.model_copy(update={"notification": None, "user_id": 5511}) == current.model_copy(
            update={"notification": None}
        )

    def test_an_update_carries_the_session_as_the_api_reads_it(self) -> None:
        update = parse_as(payloads.SessionUpdate, sample("SessionUpdateNotification.active.json"))

        session = update.session
        assert (session.id, session.status) == (77120, "active")
        assert session.energy_wh == Decimal(5230)
        assert (session.amount_with_tax, session.amount_without_tax) == (Decimal("2.35"), Decimal("1.96"))
        assert session.charging_periods[0].energy == Decimal(5230)
        assert session.authorization.method == "user_device"

    def test_a_session_without_the_newer_totals_falls_back_to_the_deprecated_ones(self) -> None:
        body = sample("SessionUpdateNotification.active.json")
        del body["session"]["energyConsumption"], body["session"]["totalAmount"]

        session = parse_as(payloads.SessionUpdate, body).session

        assert session.energy_wh == Decimal(5230)
        assert (session.amount_with_tax, session.amount_without_tax) == (Decimal("2.35"), None)

    def test_charging_periods_that_were_left_out_are_told_apart_from_none_at_all(self) -> None:
        body = sample("SessionUpdateNotification.active.json")

        body["session"]["chargingPeriods"] = []
        assert parse_as(payloads.SessionUpdate, body).session.charging_periods == ()

        del body["session"]["chargingPeriods"]
        assert parse_as(payloads.SessionUpdate, body).session.charging_periods is None

    def test_the_word_null_is_no_payment_status(self) -> None:
        body = sample("SessionUpdateNotification.active.json")
        body["session"].update(paymentStatus="null", billingStatus="null")

        session = parse_as(payloads.SessionUpdate, body).session

        assert (session.payment_status, session.billing_status) == (None, None)

    def test_objects_that_php_spells_as_empty_arrays_are_empty_objects(self) -> None:
        body = sample("SessionUpdateNotification.active.json")
        body["session"].update(power=[], totalAmount=[], roaming=[], externalAppData=[])

        session = parse_as(payloads.SessionUpdate, body).session

        assert (session.power.latest, session.amount_with_tax) == (None, Decimal("2.35"))
        assert session.external_app_data == {}

    def test_words_that_ampeco_adds_are_kept(self) -> None:
        body = sample("SessionUpdateNotification.active.json")
        body["session"].update(status="hibernating", reason="full_moon", billingStatus="haggling")

        session = parse_as(payloads.SessionUpdate, body).session

        assert (session.status, session.reason, session.billing_status) == ("hibernating", "full_moon", "haggling")

    def test_each_meter_value_has_its_own_time_and_an_exact_value(self) -> None:
        payload = parse_as(payloads.SessionMeterValues, sample("SessionMeterValuesNotification.json"))

        current = payload.meter_values[2]
        assert current.timestamp == datetime(2026, 3, 4, 7, 10, tzinfo=UTC)
        assert (current.measurand, current.value, current.unit) == ("Current Import", Decimal("62.4"), "A")

    @pytest.mark.parametrize("body", [{}, {"meterValues": None}, {"meterValues": []}])
    def test_meter_values_may_be_missing(self, body: dict[str, Any]) -> None:
        payload = parse_as(
            payloads.SessionMeterValues, {"notification": "SessionMeterValuesNotification", "sessionId": "1", **body}
        )

        assert payload.meter_values == ()


class TestStatuses:
    def test_a_status_without_an_evse_is_the_charge_points_own(self) -> None:
        of_charge_point = parse_as(payloads.HardwareStatus, sample("HardwareStatusNotification.chargepoint.json"))
        of_evse = parse_as(payloads.HardwareStatus, sample("HardwareStatusNotification.evse.json"))

        assert (of_charge_point.charge_point_id, of_charge_point.evse_id) == (418, None)
        assert (of_evse.charge_point_id, of_evse.evse_id) == (418, 902)

    def test_a_hardware_status_keeps_ampecos_spelling_and_may_never_have_been_reported(self) -> None:
        body = sample("HardwareStatusNotification.evse.json")

        assert (
            parse_as(payloads.HardwareStatus, body | {"hardwareStatus": "suspendedEV"}).hardware_status == "suspendedEV"
        )
        assert parse_as(payloads.HardwareStatus, body | {"hardwareStatus": None}).hardware_status is None

    def test_a_network_status_is_spelled_as_one_word(self) -> None:
        payload = parse_as(payloads.NetworkStatusChanged, sample("NetworkStatusNotification.offline.json"))

        assert payload.network_status == "temporarily_unavailable"

    def test_boot_details_are_read_from_their_snake_case_keys(self) -> None:
        boot = parse_as(payloads.Boot, sample("BootNotification.json")).boot_notification

        assert (boot.model, boot.charge_point_serial_number, boot.firmware_version) == ("QC-50", "VM50-000731", "4.7.1")

    def test_a_boot_may_contain_nothing_about_itself(self) -> None:
        body = sample("BootNotification.json")

        assert parse_as(payloads.Boot, body | {"bootNotification": None}).boot_notification.model is None


class TestMasterData:
    def test_a_charge_point_snapshot_is_read_into_the_present_vocabulary(self) -> None:
        payload = parse_as(payloads.ChargePointSnapshotChanged, sample("ChargePointChangedNotification.json"))

        charge_point = payload.charge_point
        assert (charge_point.id, charge_point.type, charge_point.status) == (418, "public", "enabled")
        assert (charge_point.network.id, charge_point.network.protocol) == ("VM50-000731", "ocpp 1.6")
        assert charge_point.last_boot_notification.charge_point_serial_number == "VM50-000731"
        assert "evses" not in charge_point.model_extra
        (evse,) = payload.evses
        assert (evse.id, evse.charge_point_id, evse.status) == (902, 418, "enabled")
        assert (evse.power_options.max_power, evse.power_options.max_voltage) == (50000, "400")
        assert evse.connectors[0].id == 1305

    def test_a_charge_point_snapshots_owners_security_and_capabilities_are_renamed_too(self) -> None:
        # Given
        body = sample("ChargePointChangedNotification.json")
        body["chargePoint"].update(
            ownerUserId=7,
            ownerPartnerId=31,
            currentSecurityProfile=2,
            firstConnection="2025-06-12T09:00:00Z",
            capabilities=["REMOTE_START_STOP_CAPABLE"],
            networkStatus="long-term unavailable",
        )

        # When
        charge_point = parse_as(payloads.ChargePointSnapshotChanged, body).charge_point

        # Then
        assert (charge_point.user.id, charge_point.partner.id) == (7, 31)
        assert charge_point.model_extra["security"] == {"currentProfile": 2}
        assert charge_point.first_contact_at == datetime(2025, 6, 12, 9, tzinfo=UTC)
        assert charge_point.capabilities == ("remote_start_stop_capable",)
        assert charge_point.network_status == "long_term_unavailable"

    def test_what_a_snapshot_leaves_out_stays_unset(self) -> None:
        body = {"notification": "ChargePointChangedNotification", **MINIMAL["ChargePointChangedNotification"]}

        payload = parse_as(payloads.ChargePointSnapshotChanged, body)

        assert payload.charge_point.model_fields_set == {"id"}
        assert payload.evses == ()

    def test_either_key_of_the_charge_point_is_read(self) -> None:
        body = sample("ChargePointChangedNotification.json")
        body["charge-point"] = body.pop("chargePoint")

        assert parse_as(payloads.ChargePointSnapshotChanged, body).charge_point.id == 418

    @pytest.mark.parametrize("charge_point", [None, "text", []])
    def test_a_snapshot_of_the_wrong_shape_is_refused_as_invalid(self, charge_point: object) -> None:
        body = sample("ChargePointChangedNotification.json") | {"chargePoint": charge_point}

        with pytest.raises(ValidationError):
            parse(body)

    @pytest.mark.parametrize(
        "charge_point", [{"id": 1, "evses": "text"}, {"id": 1, "evses": [7]}, {"id": 1, "network": 7, "tags": 7}]
    )
    def test_a_part_of_a_snapshot_of_the_wrong_shape_is_left_out(self, charge_point: object) -> None:
        body = sample("ChargePointChangedNotification.json") | {"chargePoint": charge_point}

        payload = parse_as(payloads.ChargePointSnapshotChanged, body)

        assert (payload.charge_point.id, payload.evses) == (1, ())
        assert (payload.charge_point.network, payload.charge_point.tags) == (None, None)

    def test_a_location_in_its_older_shape_is_read_into_the_present_one(self) -> None:
        location = parse_as(payloads.LocationChanged, sample("LocationChangedNotification.json")).location

        assert (location.id, location.status, location.post_code) == (66, "enabled", "9000")
        assert location.name == {"en": "Quayside Hub"}
        assert location.default_name == "Quayside Hub"
        assert location.geoposition.latitude == Decimal("43.2045")

    def test_a_hint_names_its_entity_what_happened_and_when(self) -> None:
        charge_point = parse_as(payloads.ChargePointChanged, sample("chargePoint.changed.json"))
        evse = parse_as(payloads.EvseChanged, sample("evse.changed.json"))

        assert (charge_point.charge_point_id, charge_point.action) == (418, "updated")
        assert (evse.evse_id, evse.last_updated_at) == (902, datetime(2026, 3, 4, 7, 20, 3, tzinfo=UTC))


class TestSecrets:
    SECRETS = ("networkPassword", "pin", "sharingCode", "password", "token", "bankDetails", "personalId")

    @pytest.mark.parametrize("name", HANDLED)
    def test_no_secret_is_reachable_from_a_payload_or_its_dump(self, name: str) -> None:
        # Given a secret at every object of the body
        body = _with_everywhere(sample(name), dict.fromkeys(self.SECRETS, "hunter2"))

        # When
        payload = parse(body)

        # Then
        assert "hunter2" not in repr(payload)
        assert "hunter2" not in str(payload.model_dump())
        assert "hunter2" not in payload.model_dump_json()
        assert not any(hasattr(payload, key) for key in (*self.SECRETS, "network_password", "sharing_code"))

    def test_the_text_of_a_validation_error_does_not_repeat_the_body(self) -> None:
        with pytest.raises(ValidationError) as caught:
            parse(sample("evse.changed.json") | {"evseId": "driver@example.com"})

        assert "driver@example.com" not in str(caught.value)


def _with_everywhere(value: Any, extra: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {**{key: _with_everywhere(held, extra) for key, held in value.items()}, **extra}
    return [_with_everywhere(held, extra) for held in value] if isinstance(value, list) else value
