"""The bodies of notifications, in AMPECO's form."""

from __future__ import annotations

from typing import Any

from simulator.fleet.model import Authorization, ChargePoint, Evse, Location, Reservation, Sample, Session, StatusChange
from simulator.fleet.resources import instant, session_resource


def start_stop(session: Session, *, stopped: bool, deprecated: bool = False) -> dict[str, Any]:
    """Return a ``session.start.stop.notification``, or its deprecated predecessor."""
    body: dict[str, Any] = {
        "notification": "SessionStartStopNotification" if deprecated else "session.start.stop.notification",
        "sessionId": session.id,
        "userId": session.user_id,
        "chargePointId": session.charge_point_id,
        "evseId": session.evse_id,
        "action": "stop" if stopped else "start",
        "idTag": session.id_tag,
        "startedAtTimestamp": instant(session.started_at),
        "meterStart": session.meter_start_wh,
        "meterStop": session.meter_start_wh + session.energy_wh,
        "lastUpdatedAt": instant(session.changed_at),
    }
    if stopped:
        assert session.stopped_at is not None
        body |= {
            "stoppedAtTimestamp": instant(session.stopped_at),
            "energyConsumed": session.energy_wh,
            "reason": session.reason,
        }
    return body


def session_update(session: Session, authorization: Authorization) -> dict[str, Any]:
    """Return a ``SessionUpdateNotification``."""
    resource = session_resource(session, authorization, with_authorization=True, with_charging_periods=True)
    return {"notification": "SessionUpdateNotification", "session": resource}


def meter_values(session: Session, evse: Evse, sample: Sample) -> dict[str, Any]:
    """Return a ``SessionMeterValuesNotification`` of one sample."""
    at = instant(sample.at)
    voltage = 400.0 if evse.current_type == "dc" else 230.0

    def reading(measurand: str, value: float, unit: str | None) -> dict[str, Any]:
        content = {"timestamp": at, "measurand": measurand, "value": value}
        return content | {"unit": unit} if unit else content

    return {
        "notification": "SessionMeterValuesNotification",
        "chargePointId": session.charge_point_id,
        "evseId": session.evse_id,
        "sessionId": session.id,
        "meterValues": [
            reading("Energy Active Import Register", session.meter_start_wh + sample.energy_wh, "Wh"),
            reading("Energy Consumed", sample.energy_wh, "Wh"),
            reading("Power Active Import", sample.power_w, None),  # AMPECO has no unit W
            reading("Current Import", round(sample.power_w / voltage, 1), "A"),
            reading("Voltage", voltage, "V"),
            reading("State Of Charge", round(session.soc_percent), "Percent"),
        ],
    }


def hardware_status(charge_point_id: int, change: StatusChange, evse_id: int | None = None) -> dict[str, Any]:
    """Return a ``HardwareStatusNotification`` of an EVSE or, without ``evse_id``, of a charge point."""
    body: dict[str, Any] = {"notification": "HardwareStatusNotification", "chargePointId": charge_point_id}
    if evse_id is not None:
        body["evseId"] = evse_id
    return body | {
        "timestamp": instant(change.at),
        "hardwareStatus": change.status,
        "errorCode": change.error_code,
        "info": change.info,
        "vendorId": None,
        "vendorErrorCode": change.vendor_error_code,
    }


def network_status(charge_point_id: int, change: StatusChange) -> dict[str, Any]:
    """Return a ``NetworkStatusNotification``."""
    return {
        "notification": "NetworkStatusNotification",
        "chargePointId": charge_point_id,
        "timestamp": instant(change.at),
        "networkStatus": change.status,
    }


def boot(charge_point: ChargePoint) -> dict[str, Any]:
    """Return a ``BootNotification``."""
    return {
        "notification": "BootNotification",
        "chargePointId": charge_point.id,
        "timestamp": instant(charge_point.booted_at),
        "bootNotification": {
            "model": charge_point.model,
            "vendor": charge_point.vendor,
            "charge_box_serial_number": None,
            "charge_point_serial_number": charge_point.serial_number,
            "firmware_version": charge_point.firmware,
            "iccid": None,
            "imsi": None,
            "meter_serial_number": None,
            "meter_type": None,
            "reason": "PowerUp",
        },
    }


def security_event(charge_point: ChargePoint) -> dict[str, Any]:
    """Return the ``SecurityEventNotification`` of a boot."""
    return {
        "notification": "SecurityEventNotification",
        "chargePointId": charge_point.id,
        "type": "StartupOfTheDevice",
        "timestamp": instant(charge_point.booted_at),
        "techInfo": "power up",
        "critical": False,
    }


def changed(name: str, key: str, entity_id: int, action: str, at: str) -> dict[str, Any]:
    """Return a hint, such as ``chargePoint.changed``, ``evse.changed`` or ``transaction.changed``.

    Parameters:
        name: the notification type.
        key: the key of the entity's id.
        at: the time of the change, as text.
    """
    return {"notification": name, key: entity_id, "action": action, "lastUpdatedAt": at}


def authorization_changed(authorization: Authorization, action: str) -> dict[str, Any]:
    """Return an ``authorization.changed``."""
    return {
        "notification": "authorization.changed",
        "authorizationId": authorization.id,
        "action": action,
        "chargePointId": authorization.charge_point_id,
        "idTag": authorization.id_tag,
        "status": "accepted" if authorization.is_accepted else "rejected",
        "lastUpdatedAt": instant(authorization.changed_at),
    }


def authorization_decided(authorization: Authorization) -> dict[str, Any]:
    """Return a deprecated ``AuthorizationNotification``, with only the decision, in OCPP's words."""
    return {
        "notification": "AuthorizationNotification",
        "chargePointId": authorization.charge_point_id,
        "authorizationId": authorization.id,
        "idTag": authorization.id_tag,
        "status": "Accepted" if authorization.is_accepted else "Invalid",
        "lastUpdatedAt": instant(authorization.changed_at),
    }


def reservation_changed(reservation: Reservation) -> dict[str, Any]:
    """Return a ``reservation.changed``."""
    return {
        "notification": "reservation.changed",
        "reservationId": reservation.id,
        "status": reservation.status,
        "lastUpdatedAt": instant(reservation.changed_at),
    }


def snapshot(name: str, entity: str, resource: dict[str, Any], at: str) -> dict[str, Any]:
    """Return a notification with the full entity, as the API shows it.

    Parameters:
        name: the notification type.
        entity: the key of the entity.
        at: the time of the change, as text.
    """
    return {"notification": name, "action": "updated", "lastUpdatedAt": at, entity: resource}


def location_changed(location: Location, charge_point_ids: list[int]) -> dict[str, Any]:
    """Return a ``LocationChangedNotification``, in the older shape."""
    return {
        "notification": "LocationChangedNotification",
        "action": "updated",
        "lastUpdatedAt": instant(location.changed_at),
        "location": {
            "id": location.id,
            "public_charge_points": len(charge_point_ids),
            "public_charge_points_ids": charge_point_ids,
            "name": {"en": location.name},
            "status": "active",
            "description": {"en": None},
            "geoposition": {"latitude": location.latitude, "longitude": location.longitude},
            "address": {"en": location.street},
            "post_code": "9000",
            "region": location.city,
            "city": location.city,
            "country": "BG",
            "external_id": None,
            "timezone": "Europe/Sofia",
            "location_image": None,
            "images": [],
            "lastUpdatedAt": instant(location.changed_at),
        },
    }


def charge_point_changed(charge_point: ChargePoint, evses: list[Evse], action: str) -> dict[str, Any]:
    """Return a deprecated ``ChargePointChangedNotification``: the full charge point with the keys of the first API."""
    return {
        "notification": "ChargePointChangedNotification",
        "action": action,
        "lastUpdatedAt": instant(charge_point.changed_at),
        "chargePoint": {
            "id": charge_point.id,
            "name": charge_point.name,
            "networkId": charge_point.serial_number,
            "networkProtocol": "ocpp 1.6",
            "status": "active",
            "locationId": charge_point.location_id,
            "accessType": "public",
            "networkStatus": charge_point.network[-1].status,
            "hardwareStatus": charge_point.hardware[-1].status,
            "managedByOperator": True,
            "tags": [],
            "createdAt": instant(charge_point.created_at),
            "lastUpdatedAt": instant(charge_point.changed_at),
            "evses": [
                {
                    "id": evse.id,
                    "networkId": str(evse.number),
                    "physicalReference": evse.label,
                    "currentType": evse.current_type,
                    "maxPower": evse.max_power_w,
                    "status": "active",
                    "hardwareStatus": evse.status,
                    "connectors": [{"id": evse.connector_id}],
                }
                for evse in evses
            ],
        },
    }
