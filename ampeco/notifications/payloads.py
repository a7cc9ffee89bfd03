"""The payloads of the notification types that change stored state.

Field names are AMPECO's own in snake_case; units are those of ``ampeco.resources.charging`` (AMPECO API,
callbacks of notifications v2.0).
"""

from __future__ import annotations

from typing import Annotated, Any

from ampeco.model import DECISIVE, Model
from ampeco.notifications import v1
from ampeco.resources.charging import BootDetails, ChargePoint, Evse, Location, Session
from ampeco.values import BigInt, HardwareStatusText, Instant, JsonObject, NetworkStatus, Number, Text, Word


class Payload(Model):
    """The body of a notification."""

    notification: Text | None = None


class SessionStartStop(Payload):
    """The start or stop of a session, session.start.stop.notification or SessionStartStopNotification.

    ``meter_start`` and ``meter_stop`` are register readings in Wh, ``energy_consumed`` is in Wh.
    ``meter_stop`` has no meaning on a start. ``last_updated_at`` orders the fact. Without a known
    ``action`` it is only a hint that the session changed.
    """

    session_id: BigInt
    action: Text | None = None
    charge_point_id: BigInt | None = None
    evse_id: BigInt | None = None
    user_id: BigInt | None = None
    id_tag: Text | None = None
    external_session_id: Text | None = None
    started_at_timestamp: Instant | None = None
    stopped_at_timestamp: Instant | None = None
    meter_start: Number | None = None
    meter_stop: Number | None = None
    energy_consumed: Number | None = None
    reason: Text | None = None
    external_app_data: JsonObject | None = None
    last_updated_at: Instant


class SessionUpdate(Payload):
    """A snapshot of a session, SessionUpdateNotification, ordered by the session's own time."""

    session: Session


class MeterValue(Model):
    """One sample of one quantity; ``measurand`` and ``unit`` are open vocabularies.

    ``measurand`` is decisive: without it, a sample would count as one of another quantity.
    """

    timestamp: Instant
    measurand: Annotated[Word | None, DECISIVE] = None
    value: Number
    unit: Word | None = None
    location: Text | None = None


class SessionMeterValues(Payload):
    """The meter samples of a session, SessionMeterValuesNotification; each sample has its own time."""

    session_id: BigInt
    charge_point_id: BigInt | None = None
    evse_id: BigInt | None = None
    external_session_id: Text | None = None
    meter_values: tuple[MeterValue, ...] = ()


class HardwareStatus(Payload):
    """A status that an EVSE reports, HardwareStatusNotification, ordered by ``timestamp``.

    Without an ``evse_id`` it is about the charge point as a whole. A ``hardware_status`` of None
    means that it was never reported, or that it could not be parsed.
    """

    charge_point_id: BigInt
    evse_id: Annotated[BigInt | None, DECISIVE] = None
    timestamp: Instant
    hardware_status: HardwareStatusText | None = None
    error_code: Word | None = None
    info: Text | None = None
    vendor_id: Text | None = None
    vendor_error_code: Text | None = None


class NetworkStatusChanged(Payload):
    """A change of a charge point's connection, NetworkStatusNotification, ordered by ``timestamp``."""

    charge_point_id: BigInt
    timestamp: Instant
    network_status: NetworkStatus | None = None


class Boot(Payload):
    """The boot of a charge point, BootNotification, ordered by ``timestamp``.

    The schema marks no field as required, but without a charge point and a time it has no use.
    """

    charge_point_id: BigInt
    timestamp: Instant
    boot_notification: BootDetails = BootDetails()


class ChargePointChanged(Payload):
    """A hint that a charge point's master data changed, chargePoint.changed."""

    charge_point_id: BigInt
    action: Text | None = None
    last_updated_at: Instant | None = None


class EvseChanged(Payload):
    """A hint that the master data of an EVSE or its connectors changed, evse.changed."""

    evse_id: BigInt
    action: Text | None = None
    last_updated_at: Instant | None = None


class ChargePointSnapshotChanged(Payload):
    """A snapshot of a charge point with its EVSEs, the deprecated ChargePointChangedNotification.

    It has the keys of AMPECO's first API, which ``ampeco.notifications.v1`` renames. The charge point's key is
    ``chargePoint``, or ``charge-point`` as in the schema's list of required keys.
    """

    charge_point: ChargePoint
    evses: tuple[Evse, ...] = ()
    action: Text | None = None
    last_updated_at: Instant | None = None

    @classmethod
    def in_present_words(cls, sent: dict[str, Any]) -> dict[str, Any]:
        """Return the body with its charge point under the keys of charge points v2.0, and its EVSEs beside it."""
        renamed = {"chargePoint" if key == "charge-point" else key: value for key, value in sent.items()}
        if not isinstance(old := renamed.get("chargePoint"), dict):
            return renamed
        new, evses = v1.charge_point(old)
        return {**renamed, "chargePoint": new, "evses": evses}


class LocationChanged(Payload):
    """A snapshot of a location in its older shape, LocationChangedNotification.

    Without a time it is only a hint that the location changed, like any snapshot without a time.
    """

    location: Location
    action: Text | None = None
    last_updated_at: Instant | None = None
