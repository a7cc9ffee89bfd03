"""What each notification that we keep state from carries.

``parse`` is the way in: it finds the model by the ``notification`` key, which every body
carries, and reads the body with it (AMPECO API, callbacks of notifications v2.0). Field names
are AMPECO's own in snake_case; units are those of ``ampeco.resources``.
"""

from __future__ import annotations

from typing import Annotated, Any

from ampeco import v1
from ampeco.errors import NoHandler, UnknownNotification
from ampeco.model import DECISIVE, Model
from ampeco.resources import BootDetails, ChargePoint, Evse, Location, Session
from ampeco.values import BigInt, Instant, JsonObject, NetworkStatus, Number, Text, Word


class Payload(Model):
    """The body of a notification."""

    notification: Text | None = None


class SessionStartStop(Payload):
    """A session started or stopped: session.start.stop.notification, SessionStartStopNotification.

    ``meter_start`` and ``meter_stop`` are register readings in Wh, ``energy_consumed`` is in
    Wh. ``meter_stop`` means nothing on a start. ``last_updated_at`` orders the fact. Without a
    known ``action`` it says no more than that the session changed.
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
    """A session as a whole: SessionUpdateNotification. Ordered by the session's own time."""

    session: Session


class MeterValue(Model):
    """One sample of one quantity. Its ``measurand`` and ``unit`` are open vocabularies.

    A sample whose ``measurand`` cannot be read would pass for one of another quantity.
    """

    timestamp: Instant
    measurand: Annotated[Word | None, DECISIVE] = None
    value: Number
    unit: Word | None = None
    location: Text | None = None


class SessionMeterValues(Payload):
    """A session's meter samples: SessionMeterValuesNotification. Each sample has its own time."""

    session_id: BigInt
    charge_point_id: BigInt | None = None
    evse_id: BigInt | None = None
    external_session_id: Text | None = None
    meter_values: tuple[MeterValue, ...] = ()


class HardwareStatus(Payload):
    """What an EVSE reports of itself: HardwareStatusNotification. Ordered by ``timestamp``.

    Without an ``evse_id`` it is about the charge point as a whole. A ``hardware_status`` of
    None was never reported, unless it could not be read.
    """

    charge_point_id: BigInt
    evse_id: Annotated[BigInt | None, DECISIVE] = None
    timestamp: Instant
    hardware_status: Word | None = None
    error_code: Word | None = None
    info: Text | None = None
    vendor_id: Text | None = None
    vendor_error_code: Text | None = None


class NetworkStatusChanged(Payload):
    """A charge point came or went: NetworkStatusNotification. Ordered by ``timestamp``."""

    charge_point_id: BigInt
    timestamp: Instant
    network_status: NetworkStatus | None = None


class Boot(Payload):
    """A charge point started: BootNotification. Ordered by ``timestamp``.

    The schema marks nothing as required; without a charge point and a time it says nothing.
    """

    charge_point_id: BigInt
    timestamp: Instant
    boot_notification: BootDetails = BootDetails()


class ChargePointChanged(Payload):
    """A hint that a charge point's master data changed: chargePoint.changed."""

    charge_point_id: BigInt
    action: Text | None = None
    last_updated_at: Instant | None = None


class EvseChanged(Payload):
    """A hint that an EVSE's or its connectors' master data changed: evse.changed."""

    evse_id: BigInt
    action: Text | None = None
    last_updated_at: Instant | None = None


class ChargePointSnapshotChanged(Payload):
    """A charge point as a whole, with its EVSEs: ChargePointChangedNotification, deprecated.

    It speaks the first API's vocabulary, and comes out in the present one. The key is
    ``chargePoint``, or ``charge-point`` as the schema's list of required keys has it.
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
    """A location as a whole, in its older shape: LocationChangedNotification.

    Without a time it only says that the location changed, as all whole entities do.
    """

    location: Location
    action: Text | None = None
    last_updated_at: Instant | None = None


def parse(body: dict[str, Any]) -> Payload:
    """Read a notification's body with the model of its name.

    Raises:
        UnknownNotification: the catalogue does not hold its name.
        NoHandler: its name is known, but we keep no state of it.
        pydantic.ValidationError: what identifies its entity or orders its fact is missing or
            cannot be read.
    """
    from ampeco.catalogue import lookup  # here, as the catalogue names the models above

    name = body.get("notification")
    known = lookup(name) if isinstance(name, str) else None
    if known is None:
        raise UnknownNotification(name)
    if known.handler is None:
        raise NoHandler(known.name)
    return known.handler.model_validate(body)
