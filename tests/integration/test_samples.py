"""Each documented notification, through the real endpoint, to the row that it should make."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ampeco.notifications.catalogue import lookup
from tests.support.facts import SAMPLES, sample
from tests.support.service import Service

NAMES = sorted(path.stem for path in SAMPLES.glob("*.json") if not path.stem.startswith("_"))


def moment(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-04T{clock}").replace(tzinfo=UTC)


#: What each handled sample must leave: table, key, columns.
EXPECTED: dict[str, list[tuple[str, dict[str, Any], dict[str, Any]]]] = {
    "session.start.stop.notification.start": [
        (
            "session",
            {"session_id": 77120},
            {
                "status": "active",
                "charge_point_id": 418,
                "evse_id": 902,
                "user_id": 5511,
                "id_tag": "*0077120",
                "started_at": moment("07:04:00"),
                "stopped_at": None,
                "energy_wh": 0,
                "meter_start_wh": 1_199_320,
                "meter_stop_wh": None,
                "state_at": moment("07:04:01"),
            },
        )
    ],
    "session.start.stop.notification.stop": [
        (
            "session",
            {"session_id": 77120},
            {
                "status": "finished",
                "started_at": moment("07:04:00"),
                "stopped_at": moment("07:43:50"),
                "stop_reason": "evdisconnected",
                "energy_wh": 23_410,
                "meter_start_wh": 1_199_320,
                "meter_stop_wh": 1_222_730,
            },
        )
    ],
    "SessionUpdateNotification.active": [
        (
            "session",
            {"session_id": 77120},
            {
                "status": "active",
                "connector_id": 1305,
                "user_id": 5511,
                "energy_wh": 5230,
                "energy_grid_wh": 5230,
                "power_w": 43_100,
                "power_peak_w": 48_900,
                "soc_percent": 41,
                "amount_with_tax": Decimal("2.35"),
                "amount_without_tax": Decimal("1.96"),
                "currency": "EUR",
                "tax_percent": 20,
                "payment_status": "pending",
                "billing_status": None,
                "authorization_id": 90233,
                "detail_at": moment("07:10:02"),
            },
        ),
        (
            "charging_period",
            {"charging_period_id": 300411},
            {"session_id": 77120, "energy_wh": 5230, "charging_state": "charging", "amount": Decimal("2.35")},
        ),
        (
            "authorization",
            {"authorization_id": 90233},
            {"method": "user_device", "source": "local", "status": "accepted", "user_id": 5511},
        ),
    ],
    "SessionUpdateNotification.finished": [
        (
            "session",
            {"session_id": 77120},
            {
                "status": "finished",
                "stop_reason": "evdisconnected",
                "stopped_at": moment("07:43:50"),
                "amount_with_tax": Decimal("10.53"),
                "payment_status": "paid",
                "billing_status": "completed",
                "payment_status_updated_at": moment("07:44:10"),
            },
        )
    ],
    "SessionMeterValuesNotification": [
        (
            "meter_value",
            {"session_id": 77120, "measurand": "Energy Consumed"},
            {"measured_at": moment("07:10:00"), "value": 5230, "unit": "Wh", "evse_id": 902, "charge_point_id": 418},
        ),
        ("meter_value", {"session_id": 77120, "measurand": "Current Import"}, {"value": Decimal("62.4"), "unit": "A"}),
    ],
    "HardwareStatusNotification.evse": [
        (
            "evse",
            {"evse_id": 902},
            {
                "hardware_status": "preparing",
                "error_code": "NoError",
                "hardware_at": moment("07:03:05"),
                "charge_point_id": 418,
            },
        ),
        (
            "evse_status_observation",
            {"evse_id": 902},
            {"observed_at": moment("07:03:05"), "hardware_status": "preparing", "source": "notification"},
        ),
    ],
    "HardwareStatusNotification.faulted": [
        (
            "evse",
            {"evse_id": 902},
            {
                "hardware_status": "faulted",
                "error_code": "GroundFailure",
                "error_info": "RCD trip",
                "vendor_id": "Voltmark",
                "vendor_error_code": "E-217",
            },
        )
    ],
    "HardwareStatusNotification.chargepoint": [
        (
            "charge_point",
            {"charge_point_id": 418},
            {"hardware_status": "available", "hardware_at": moment("07:01:15")},
        ),
        (
            "charge_point_hardware_observation",
            {"charge_point_id": 418},
            {"hardware_status": "available", "error_code": "NoError"},
        ),
    ],
    "NetworkStatusNotification.available": [
        ("charge_point", {"charge_point_id": 418}, {"network_status": "available", "network_at": moment("07:01:10")}),
        ("charge_point_network_observation", {"charge_point_id": 418}, {"network_status": "available"}),
    ],
    "NetworkStatusNotification.offline": [
        ("charge_point", {"charge_point_id": 418}, {"network_status": "temporarily_unavailable"}),
    ],
    "BootNotification": [
        (
            "charge_point",
            {"charge_point_id": 418},
            {
                "boot_vendor": "Voltmark",
                "boot_model": "QC-50",
                "firmware_version": "4.7.1",
                "charge_point_serial_number": "VM50-000731",
                "meter_type": "MID-3P",
                "iccid": "8935901740002211345",
                "boot_at": moment("07:01:12"),
            },
        )
    ],
    "ChargePointChangedNotification": [
        (
            "charge_point",
            {"charge_point_id": 418},
            {
                "name": "Quayside 1",
                "status": "enabled",
                "access_type": "public",
                "location_id": 66,
                "network_id": "VM50-000731",
                "network_protocol": "ocpp 1.6",
                "tags": ["quay"],
            },
        ),
        (
            "evse",
            {"evse_id": 902},
            {
                "physical_reference": "QC-418-1",
                "current_type": "dc",
                "max_power_w": 50_000,
                "max_amperage_a": 125,
                "status": "enabled",
                "tariff_group_id": 12,
            },
        ),
        ("refresh_request", {"kind": "charge_point", "entity_id": 418}, {"reason": "changed"}),
        ("refresh_request", {"kind": "evse", "entity_id": 902}, {"reason": "changed"}),
    ],
    "LocationChangedNotification": [
        (
            "location",
            {"location_id": 66},
            {
                "name": "Quayside Hub",
                "status": "enabled",
                "street_address": "1 Quay Street",
                "city": "Varna",
                "country": "BG",
                "post_code": "9000",
                "latitude": Decimal("43.2045"),
                "timezone": "Europe/Sofia",
            },
        )
    ],
    "chargePoint.changed": [
        ("refresh_request", {"kind": "charge_point", "entity_id": 418}, {"reason": "changed"}),
    ],
    "evse.changed": [("refresh_request", {"kind": "evse", "entity_id": 902}, {"reason": "changed"})],
}


def marks(*entities: tuple[str, int, str]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    return [
        ("refresh_request", {"kind": entity, "entity_id": entity_id}, {"reason": reason})
        for entity, entity_id, reason in entities
    ]


def notice(subject: str, **columns: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    return ("notice", {"subject": subject}, columns)


EXPECTED |= {
    "authorization.changed": marks(("authorization", 90233, "changed")),
    "AuthorizationNotification": marks(("authorization", 90233, "changed")),
    "transaction.changed": marks(("transaction", 44102, "changed")),
    "reservation.changed": marks(("reservation", 811, "changed")),
    "cdr.received": [
        (
            "refresh_request",
            {"kind": "cdr", "entity_id": 0},
            {"reference": "8f0e5a0e-6d3c-4f9d-9d8f-1f8f0a2b7711", "reason": "changed"},
        )
    ],
    "TariffChangedNotification": [
        (
            "tariff",
            {"tariff_id": 12},
            {"name": "DC standard", "currency": "EUR", "price_per_kwh": Decimal("0.45"), "connection_fee": 0},
        ),
        *marks(("tariff", 12, "changed")),
    ],
    "circuit.changed": marks(("circuit", 9, "changed")),
    "idTag.changed": marks(("id_tag", 615, "changed")),
    "installerJob.changed": marks(("installer_job", 15, "changed")),
    "parkingSpace.occupancyStatus.changed": marks(("parking_space", 51, "changed")),
    "partner.changed.updated": marks(("partner", 31, "changed")),
    "partner.changed.deleted": marks(("partner", 31, "changed")),
    "partnerInvite.changed": marks(("partner_invite", 77, "changed")),
    "roamingPlatform.changed": marks(("roaming_platform", 2, "changed")),
    "settlementReport.created": marks(("settlement_report", 61, "changed"), ("partner", 31, "unknown")),
    "SubOperatorChangedNotification": marks(("sub_operator", 4, "changed")),
    "UserChangedNotification": [
        ("resource", {"kind": "user", "resource_id": 5511}, {"master_at": moment("07:16:00")}),
        *marks(("user", 5511, "changed")),
    ],
    "chargePoint.dataTransferReceived": [notice("data_transfer", charge_point_id=418, observed_at=None)],
    "ChargePointSyncConfigurationNotification": [
        notice("configuration", charge_point_id=418, observed_at=moment("07:01:30"))
    ],
    "chargingProfile.applied": [
        notice("charging_profile", charge_point_id=418, evse_id=902, session_id=77120, observed_at=moment("07:09:00"))
    ],
    "CircuitConsumptionNotification": [
        notice("circuit_consumption", circuit_id=9, observed_at=moment("07:10:00")),
        *marks(("circuit", 9, "unknown")),
    ],
    "DiagnosticsStatusNotification": [
        notice(
            "diagnostics",
            charge_point_id=418,
            observed_at=moment("07:30:00"),
            details={
                "chargePointId": 418,
                "requestId": 552,
                "status": "uploaded",
                "lastUpdatedAt": "2026-03-04T07:30:00+00:00",
            },
        )
    ],
    "SecurityEventNotification": [notice("security_event", charge_point_id=418, observed_at=moment("07:01:11"))],
    "user.invoiceDetails.changed": [notice("invoice_details", user_id=5511), *marks(("user", 5511, "unknown"))],
    "user.paymentMethod.changed": [notice("payment_method", user_id=5511), *marks(("user", 5511, "unknown"))],
    "user.subscription.changed": [
        notice("user_subscription", user_id=5511),
        *marks(("user", 5511, "changed"), ("subscription_plan", 2, "unknown")),
    ],
    "userBalance.changed": [
        notice("user_balance", user_id=5511, observed_at=moment("07:19:00")),
        *marks(("user", 5511, "changed"), ("transaction", 44090, "unknown")),
    ],
}
EXPECTED["user.subscriptionChanged"] = EXPECTED["user.subscription.changed"]
EXPECTED["SessionStartStopNotification.start"] = EXPECTED["session.start.stop.notification.start"]
EXPECTED["SessionStartStopNotification.stop"] = EXPECTED["session.start.stop.notification.stop"]


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_ends_in_the_rows_that_it_should_make(service: Service, name: str) -> None:
    # Given a documented notification, byte for byte
    raw = (SAMPLES / f"{name}.json").read_bytes()
    known = lookup(sample(name)["notification"])
    assert known is not None

    # When it is delivered and applied
    answer = service.post(raw)
    service.apply()

    # Then it was acknowledged, is in the log as it came, and is settled
    assert answer.status_code == 202
    notification_id = answer.json()["id"]
    (logged,) = service.query("SELECT * FROM ingest.notification")
    assert str(logged["notification_id"]) == notification_id
    assert logged["notification_id"].version == 7
    assert bytes(logged["body"]) == raw
    assert logged["notification_type"] == known.name
    assert logged["headers"] == {"X-Timestamp": "2026-03-04T07:04:01.215334Z", "X-Tenant": "42"}
    assert logged["signature_encoding"] == "hex"
    if known.handler is None:
        assert service.states() == {notification_id: ("ignored", "no handler")}
        assert name not in EXPECTED
        return
    assert service.states() == {notification_id: ("applied", None)}

    # And the rows are there
    for table, key, columns in EXPECTED[name]:
        schema = "ingest" if table == "refresh_request" else "charging"
        condition = " AND ".join(f"{column} = :{column}" for column in key)
        (row,) = service.query(f"SELECT * FROM {schema}.{table} WHERE tenant = 'demo' AND {condition}", **key)
        assert {column: row[column] for column in columns} == columns


def test_all_notifications_of_a_session_make_one_row(service: Service) -> None:
    # Given every notification of one session, out of order
    names = ["SessionUpdateNotification.finished", "session.start.stop.notification.stop"]
    names += [
        "SessionMeterValuesNotification",
        "SessionUpdateNotification.active",
        "session.start.stop.notification.start",
    ]
    for name in names:
        service.post(sample(name))
    # When it is applied
    service.apply()
    # Then the newest snapshot stands, the meter registers beside it
    (row,) = service.query("SELECT * FROM charging.session")
    assert (row["status"], row["energy_wh"], row["payment_status"]) == ("finished", 23_410, "paid")
    assert (row["meter_start_wh"], row["meter_stop_wh"]) == (1_199_320, 1_222_730)
    assert row["state_conflicting"] is False


def test_a_notice_that_arrives_twice_is_one_row(service: Service) -> None:
    for name in ("SecurityEventNotification", "userBalance.changed", "chargePoint.dataTransferReceived"):
        for _ in range(2):
            service.post(sample(name))
            service.apply()
    assert service.count("charging.notice") == 3


def test_secrets_of_a_user_and_of_a_configuration_are_in_no_row(service: Service) -> None:
    # Given a user with a password and a bank account, and a charge point that sends its key
    user = sample("UserChangedNotification")
    user["user"] |= {"password": "$2y$10$hash", "bankDetails": {"bankIban": "BG80BNBG96611020345678"}}
    configuration = sample("ChargePointSyncConfigurationNotification")
    configuration["configuration"].append({"key": "AuthorizationKey", "value": "0123456789abcdef", "readonly": False})
    # When they are applied
    for body in (user, configuration):
        service.post(body)
    service.apply()
    # Then the rest is kept
    kept = repr(service.query("SELECT * FROM charging.resource") + service.query("SELECT * FROM charging.notice"))
    assert "driver@example.com" in kept
    assert "AuthorizationKey" in kept
    assert not any(secret in kept for secret in ("$2y$10$hash", "BG80BNBG", "0123456789abcdef"))


def test_a_deleted_user_is_read_and_not_overwritten(service: Service) -> None:
    service.post(sample("UserChangedNotification"))
    gone = sample("UserChangedNotification") | {"action": "permanently deleted", "user": {"id": "5511"}}
    service.post(gone | {"lastUpdatedAt": "2026-03-04T08:00:00+00:00"})
    service.apply()
    (row,) = service.query("SELECT raw FROM charging.resource WHERE kind = 'user'")
    assert row["raw"]["email"] == "driver@example.com"
