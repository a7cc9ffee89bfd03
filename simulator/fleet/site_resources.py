"""Resources of hardware and sites as JSON, in the form of AMPECO's API: charge points, EVSEs, locations, statuses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from simulator.fleet.build import contract_id
from simulator.fleet.makes import model_id
from simulator.fleet.model import ChargePoint, Evse, Location, Record, StatusChange, zone_ids
from simulator.fleet.resources import COUNTRY, TARIFF_GROUP_ID, instant


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
