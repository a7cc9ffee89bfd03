"""The tenant's resources as JSON, in the form of AMPECO's API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from simulator.fleet.build import contract_id
from simulator.fleet.makes import model_id
from simulator.fleet.model import (
    Authorization,
    ChargePoint,
    Evse,
    IdTag,
    Location,
    Partner,
    Record,
    Reservation,
    Sample,
    Session,
    StatusChange,
    Tariff,
    Transaction,
    User,
    zone_ids,
)

CURRENCY = "EUR"
COUNTRY = "BG"
AUTHORIZATION_METHOD = "id_tag"
TARIFF_GROUP_ID = 12
TARIFF_SNAPSHOT_ID = 6_120
TAX_ID, TAX_PERCENTAGE = 3, 20


def instant(moment: datetime) -> str:
    """Return a time in AMPECO's form: to the second, with its zone."""
    return moment.isoformat(timespec="seconds")


def _maybe(moment: datetime | None) -> str | None:
    return None if moment is None else instant(moment)


def session_resource(
    session: Session,
    authorization: Authorization,
    *,
    with_authorization: bool,
    with_charging_periods: bool,
    with_price_breakdown: bool = False,
    with_periods_price_breakdown: bool = False,
) -> dict[str, Any]:
    """Return a session (AMPECO API, sessions v1.0).

    Parameters:
        with_authorization, with_charging_periods, with_price_breakdown: parts to include.
        with_periods_price_breakdown: whether each charging period, if included, has its own price breakdown.
    """
    resource: dict[str, Any] = {
        "id": str(session.id),
        "chargePointId": session.charge_point_id,
        "evseId": session.evse_id,
        "connectorId": session.connector_id,
        "status": session.status,
        "userId": session.user_id,
        "startedAt": instant(session.started_at),
        "stoppedAt": _maybe(session.stopped_at),
        "energy": session.energy_wh,
        "powerKw": session.power_w / 1000,
        "socPercent": round(session.soc_percent),
        "amount": float(session.amount_with_tax),
        "totalAmount": {
            "withTax": float(session.amount_with_tax),
            "withoutTax": float(session.amount_without_tax),
        },
        "tax": {"taxId": TAX_ID, "taxPercentage": TAX_PERCENTAGE},
        "currency": CURRENCY,
        "paymentType": "tokenized",
        "paymentMethodId": f"pm-{session.user_id}",
        "terminalId": None,
        "nonBillableEnergy": 0,
        "paymentStatus": session.payment_status,
        "authorizationId": session.authorization_id,
        "idTag": session.id_tag,
        "idTagLabel": "",
        "extendingSessionId": None,
        "reimbursementEligibility": False,
        "externalSessionId": None,
        "tariffSnapshotId": TARIFF_SNAPSHOT_ID,
        "electricityCost": None,
        "evsePhysicalReference": session.evse_label,
        "paymentStatusUpdatedAt": _maybe(session.payment_changed_at),
        "lastUpdatedAt": instant(session.changed_at),
        "energyConsumption": {"total": session.energy_wh, "grid": session.energy_wh},
        "billingStatus": session.billing_status,
        "receiptId": session.receipt_id,
        "power": {"latest": session.power_w, "peak": session.peak_w, "average": session.average_w},
    }
    if session.reason is not None:
        resource["reason"] = session.reason
    if with_authorization:
        resource["authorization"] = {
            "id": authorization.id,
            "method": "rfid_tag",
            "source": "local",
            "createdAt": instant(authorization.created_at),
            "status": "accepted",
            "rejectionReason": None,
            "userId": authorization.user_id,
            "rfidTagUid": authorization.id_tag,
            "lastUpdatedAt": instant(authorization.changed_at),
        }
    if with_charging_periods:
        resource["chargingPeriods"] = _charging_periods(session, with_price_breakdown=with_periods_price_breakdown)
    if with_price_breakdown:
        resource["priceBreakdown"] = [
            part | {"totalPrice": part["price"]["withTax"], "unitPrice": part["pricePerUnit"]["withTax"]}
            for part in _price_breakdown(session)
        ]
    return resource


def _price_breakdown(session: Session) -> list[dict[str, Any]]:
    """Return the parts of a session's price, which is for energy only."""
    per_unit = {
        "withTax": float(session.price_per_kwh),
        "withoutTax": round(float(session.price_per_kwh) / (1 + TAX_PERCENTAGE / 100), 4),
    }
    return [
        {
            "type": "energy",
            "currency": CURRENCY,
            "unit": "kwh",
            "pricePerUnit": per_unit,
            "quantity": session.energy_wh / 1000,
            "price": {"withTax": float(session.amount_with_tax), "withoutTax": float(session.amount_without_tax)},
            "taxPercentage": TAX_PERCENTAGE,
        }
    ]


def _charging_periods(session: Session, *, with_price_breakdown: bool) -> list[dict[str, Any]]:
    charging_until = session.idle_since or session.stopped_at
    periods: list[dict[str, Any]] = [
        {
            "id": session.id * 10,
            "energy": session.energy_wh,
            "startedAt": instant(session.started_at),
            "stoppedAt": _maybe(charging_until),
            "state": "charging",
            "chargingState": "charging",
            "amount": float(session.amount_with_tax),
        }
    ]
    if session.idle_since is not None:
        periods.append(
            {
                "id": session.id * 10 + 1,
                "energy": 0,
                "startedAt": instant(session.idle_since),
                "stoppedAt": _maybe(session.stopped_at),
                "state": "idle",
                "chargingState": "idle",
                "amount": 0,
            }
        )
    if with_price_breakdown:
        for number, period in enumerate(periods):
            period["priceBreakdown"] = _price_breakdown(session) if number == 0 else []
    return periods


def sample_resource(sample: Sample) -> dict[str, Any]:
    """Return a point of a session's consumption (AMPECO API, sessions v1.0, consumption stats)."""
    return {"energy": sample.energy_wh, "power": sample.power_w, "timestamp": instant(sample.at)}


def charge_point_resource(charge_point: ChargePoint, *, with_boot: bool) -> dict[str, Any]:
    """Return a charge point with its PIN and password, which AMPECO sends too (AMPECO API, charge points v2.0)."""
    resource: dict[str, Any] = {
        "id": charge_point.id,
        "name": charge_point.name,
        "type": "public",
        "pin": f"{charge_point.id % 10_000:04d}",
        "locationId": charge_point.location_id,
        "status": "enabled",
        "managedByOperator": True,
        "network": {
            "id": charge_point.serial_number,
            "protocol": "ocpp 1.6",
            "password": f"ocpp-password-{charge_point.id}",
        },
        "autoStartWithoutAuthorization": False,
        "disableAutoStartEmulation": False,
        "security": {"currentProfile": 2},
        "enableAutoFaultRecovery": True,
        "networkStatus": charge_point.network[-1].status.replace(" ", "_"),
        "hardwareStatus": charge_point.hardware[-1].status,
        "communicationMode": "direct_ocpp" if charge_point.roaming_operator_id is None else "roaming",
        "roamingOperatorId": charge_point.roaming_operator_id,
        "chargingZoneId": charge_point.charging_zone_id,
        "modelId": model_id(charge_point.model),
        "tags": [],
        "createdAt": instant(charge_point.created_at),
        "lastUpdatedAt": instant(charge_point.changed_at),
    }
    if charge_point.partner_id is not None:
        resource["partner"] = {
            "id": charge_point.partner_id,
            "contractId": contract_id(charge_point.partner_id),
            "corporateBillingAsDefault": False,
            "accessType": "public_view_private_use",
        }
    if with_boot:
        resource["lastBootNotification"] = {
            "model": charge_point.model,
            "vendor": charge_point.vendor,
            "chargeBoxSerialNumber": None,
            "chargePointSerialNumber": charge_point.serial_number,
            "firmwareVersion": charge_point.firmware,
            "iccid": None,
            "imsi": None,
            "meterSerialNumber": None,
            "meterType": None,
            "lastUpdatedAt": instant(charge_point.booted_at),
        }
    return resource


def live_status_resource(charge_point: ChargePoint, evses: list[Evse], now: datetime) -> dict[str, Any]:
    """Return a charge point's live status, in words with spaces (AMPECO API, charge points v1.0, status)."""
    return {
        "networkStatus": charge_point.network[-1].status,
        "hardwareStatus": charge_point.hardware[-1].status,
        "evses": [{"id": evse.id, "hardwareStatus": evse.status} for evse in evses],
        "lastUpdatedAt": instant(now),
    }


def evse_resource(evse: Evse, *, with_connectors: bool, nested: bool = False) -> dict[str, Any]:
    """Return an EVSE, without its charge point's id if nested in the charge point (AMPECO API, EVSEs v2.1)."""
    resource: dict[str, Any] = {} if nested else {"chargePointId": evse.charge_point_id}
    resource |= {
        "id": evse.id,
        "physicalReference": evse.label,
        "currentType": evse.current_type,
        "networkId": str(evse.number),
        "status": "enabled",
        "tariffGroupId": TARIFF_GROUP_ID,
        "allowsReservation": False,
        "bookingEnabled": False,
        "powerOptions": {
            "maxPower": evse.max_power_w,
            "maxVoltage": "400",
            "maxAmperage": round(evse.max_power_w / 400, 1),
            "phases": "three_phase",
            "phaseRotation": "RST",
            "connectedPhase": None,
        },
        "roamingOperatorId": evse.roaming_operator_id,
        "hardwareStatus": evse.status,
        "createdAt": instant(evse.created_at),
        "lastUpdatedAt": instant(evse.changed_at),
    }
    if with_connectors:
        resource["connectors"] = [
            {
                "id": evse.connector_id,
                "type": "ccs2" if evse.current_type == "dc" else "type2",
                "format": "cable" if evse.current_type == "dc" else "socket",
                "status": "enabled",
            }
        ]
    return resource


def location_resource(location: Location, *, with_zones: bool) -> dict[str, Any]:
    """Return a location (AMPECO API, locations v2.0)."""
    resource: dict[str, Any] = {
        "id": location.id,
        "externalId": None,
        "name": [{"locale": "en", "translation": location.name}],
        "geoposition": {"latitude": location.latitude, "longitude": location.longitude},
        "address": [{"locale": "en", "translation": location.street}],
        "city": location.city,
        "region": location.city,
        "country": COUNTRY,
        "postCode": "9000",
        "timezone": "Europe/Sofia",
        "workingHours": _working_hours(location),
        "roamingOperatorId": None,
        "tags": [],
        "status": "enabled",
        "lastUpdatedAt": instant(location.changed_at),
    }
    if with_zones:
        resource["chargingZones"] = [
            {"id": zone_id, "name": f"{location.name}, level {number}", "locationId": location.id, "status": "enabled"}
            for number, zone_id in enumerate(zone_ids(location.id), 1)
        ]
    return resource


def _working_hours(location: Location) -> dict[str, Any]:
    """Return the working hours: every third location closes at night and at the weekend."""
    if location.id % 3:
        return {"isAlwaysOpen": True, "stopSessionOutsideWorkingHours": None, "hours": None}
    opened = [{"start": "07:00", "end": "22:00"}]
    hours = dict.fromkeys(("monday", "tuesday", "wednesday", "thursday", "friday"), opened)
    return {
        "isAlwaysOpen": False,
        "stopSessionOutsideWorkingHours": False,
        "hours": hours | {"saturday": [], "sunday": []},
    }


def authorization_resource(authorization: Authorization) -> dict[str, Any]:
    """Return an authorization (AMPECO API, authorizations v2.1)."""
    resource: dict[str, Any] = {
        "id": authorization.id,
        "method": AUTHORIZATION_METHOD,
        "source": "local",
        "createdAt": instant(authorization.created_at),
        "status": "accepted" if authorization.is_accepted else "rejected",
        "userId": authorization.user_id,
        "idTagUid": authorization.id_tag,
        "chargePointId": authorization.charge_point_id,
        "evseId": authorization.evse_id,
        "sessionIds": [] if authorization.session_id is None else [authorization.session_id],
        "lastUpdatedAt": instant(authorization.changed_at),
    }
    if not authorization.is_accepted:
        resource["rejectionReason"] = "unknown id tag"
    return resource


def transaction_resource(transaction: Transaction) -> dict[str, Any]:
    """Return a transaction (AMPECO API, transactions v1.0)."""
    return {
        "id": transaction.id,
        "number": f"T-{transaction.id}",
        "date": instant(transaction.created_at),
        "userId": transaction.user_id,
        "sessionId": transaction.session_id,
        "paymentMethodId": f"pm-{transaction.user_id}",
        "purchaseResourceType": "session",
        "purchaseResourceId": transaction.session_id,
        "totalAmount": float(transaction.amount),
        "currency": CURRENCY,
        "status": transaction.status,
        "ref": f"ref-{transaction.id}",
        "billingType": "internal",
        "lastUpdatedAt": instant(transaction.changed_at),
        "finalizedAt": _maybe(transaction.finalized_at),
        "receiptId": transaction.receipt_id,
        "invoiceId": transaction.invoice_id,
    }


def reservation_resource(reservation: Reservation) -> dict[str, Any]:
    """Return a reservation (AMPECO API, reservations v1.0)."""
    return {
        "id": reservation.id,
        "chargePointId": reservation.charge_point_id,
        "evseId": reservation.evse_id,
        "status": reservation.status,
        "userId": reservation.user_id,
        "reservedAt": instant(reservation.reserved_at),
        "canceledAt": _maybe(reservation.canceled_at),
        "duration": reservation.minutes,
        "lastUpdatedAt": instant(reservation.changed_at),
    }


def tariff_resource(tariff: Tariff) -> dict[str, Any]:
    """Return a tariff (AMPECO API, tariffs v1.0)."""
    return {
        "id": tariff.id,
        "name": tariff.name,
        "type": "standard",
        "pricing": {"pricePerKwh": tariff.price_per_kwh, "connectionFee": 0},
        "currency": CURRENCY,
        "externalId": None,
        "lastUpdatedAt": instant(tariff.changed_at),
    }


def user_resource(user: User) -> dict[str, Any]:
    """Return a user with a password hash, which is an option of AMPECO (AMPECO API, users v1.0)."""
    return {
        "id": str(user.id),
        "email": user.email,
        "firstName": user.first_name,
        "lastName": None,
        "locale": "en-GB",
        "status": "enabled",
        "balance": 0,
        "password": f"password-hash-{user.id}",
        "receiveNewsAndPromotions": user.wants_news,
        "createdAt": instant(user.created_at),
        "lastUpdatedAt": instant(user.changed_at),
    }


def id_tag_resource(tag: IdTag) -> dict[str, Any]:
    """Return an id tag (AMPECO API, id tags v2.0)."""
    return {
        "id": tag.id,
        "idTagUid": tag.uid,
        "type": "rfid",
        "status": "enabled",
        "userId": tag.user_id,
        "createdAt": instant(tag.changed_at),
        "lastUpdatedAt": instant(tag.changed_at),
    }


def partner_resource(partner: Partner) -> dict[str, Any]:
    """Return a partner (AMPECO API, partners v2.0)."""
    return {
        "id": partner.id,
        "name": partner.name,
        "country": COUNTRY,
        "externalId": None,
        "lastUpdatedAt": instant(partner.changed_at),
    }


def hardware_log_resource(change: StatusChange, error_codes: Mapping[str, Record]) -> dict[str, Any]:
    """Return an entry of a hardware status log (AMPECO API, hardware status logs).

    Parameters:
        error_codes: the vendor error codes that are known, by code.
    """
    entry: dict[str, Any] = {
        "status": change.status,
        "timestamp": instant(change.at),
        "errorCode": change.error_code,
    }
    if change.info is not None:
        entry["info"] = change.info
    if change.vendor_error_code is not None:
        entry["vendorErrorCode"] = change.vendor_error_code
        known = error_codes.get(change.vendor_error_code)
        if known is not None:
            for name in ("errorCodeDescription", "errorCodeCustomerAction"):
                if known.fields[name] is not None:
                    entry[name] = known.fields[name]
    return entry


def network_log_resource(change: StatusChange) -> dict[str, Any]:
    """Return an entry of a network status log (AMPECO API, network status logs)."""
    return {"status": change.status, "timestamp": instant(change.at)}
