"""AMPECO's resources, as in the answers of its API and in some notifications.

Energies are in Wh, powers in W, currents in A, times in UTC, money is in major units of the
object's currency. Where AMPECO has both a deprecated field and its successor, the model has both
under their own names, and a property chooses (AMPECO API, sessions v1.0, charge points v2.0,
EVSEs v2.1, locations v2.0, authorizations v2.1, notifications v2.0).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ampeco.model import DECISIVE, Model, Unreadable
from ampeco.values import (
    BigInt,
    HardwareStatusText,
    Instant,
    InstantOrDay,
    JsonObject,
    Localised,
    NetworkStatus,
    Number,
    SettledText,
    SystemStatus,
    Text,
    WholeNumber,
    Word,
)


def _first(value: object) -> object:
    """Return the only element of a list: AMPECO was seen to send an authorization's charge point in one."""
    if isinstance(value, list):
        return value[0] if value else None
    return value


IdOrList = Annotated[BigInt | None, BeforeValidator(_first)]


class Amount(Model):
    """An amount of money, in the currency of the object that contains it."""

    with_tax: Number | None = None
    without_tax: Number | None = None


class Tax(Model):
    """The tax on a session's price."""

    tax_id: BigInt | None = None
    tax_percentage: Number | None = None


class EnergyConsumption(Model):
    """Energy in Wh: in total, the part that was generated locally, the part from the grid."""

    total: Number | None = None
    local: Number | None = None
    grid: Number | None = None


class Power(Model):
    """Charging power in W."""

    latest: Number | None = None
    peak: Number | None = None
    average: Number | None = None


class AuthorizationRoaming(Model):
    """The roaming data of an authorization."""

    platform_id: BigInt | None = None
    platform_role_id: BigInt | None = None
    platform_role: Text | None = None
    reference: Text | None = None
    client: Text | None = None


def _present_method(value: object) -> object:
    return "id_tag" if value == "rfid_tag" else value


class Authorization(Model):
    """A permission to charge: a session's sub-object, or a resource of its own.

    The sub-object has an older word for a ``method``, ``rfid_tag``, which is parsed as ``id_tag``,
    and the key ``rfid_tag_uid`` for the resource's ``id_tag_uid``. In the resource, ``user_id`` is 0
    for an anonymous driver.
    """

    id: BigInt
    method: Annotated[Text | None, BeforeValidator(_present_method)] = None
    source: Text | None = None
    created_at: Instant | None = None
    status: Text | None = None
    rejection_reason: Text | None = None
    user_id: BigInt | None = None
    rfid_tag_uid: Text | None = None
    id_tag_uid: Text | None = None
    roaming: AuthorizationRoaming | None = None
    charge_point_id: IdOrList = None
    evse_id: IdOrList = None
    session_ids: tuple[BigInt, ...] | None = None
    last_updated_at: Instant | None = None

    @property
    def tag_uid(self) -> str | None:
        """The RFID tag's uid, from ``id_tag_uid`` or else from ``rfid_tag_uid``."""
        return self.rfid_tag_uid if self.id_tag_uid is None else self.id_tag_uid


class ChargingPeriod(Model):
    """A part of a session in one state and at one price; ``energy`` is in Wh."""

    id: BigInt
    energy: Number | None = None
    started_at: Instant | None = None
    stopped_at: Instant | None = None
    state: Text | None = None
    charging_state: Text | None = None
    amount: Number | None = None
    price_breakdown: tuple[JsonObject, ...] | None = None


class SessionRoaming(Model):
    """The roaming data of a session."""

    cdr_ids: tuple[BigInt, ...] | None = None
    session_id: Text | None = None
    roaming_operator_cpo_id: BigInt | None = None
    cpo_last_updated_at: Instant | None = None


#: States of a session that do not change any more.
FINAL_SESSION_STATES = ("finished", "failed", "expired")


class Session(Model):
    """A charging session (AMPECO API, sessions v1.0).

    ``last_updated_at`` is required, although the schema does not mark it: without it a session
    cannot be ordered against the stored state. ``charging_periods`` and ``authorization`` are None
    if the answer does not contain them.
    """

    id: BigInt
    charge_point_id: BigInt | None = None
    evse_id: BigInt | None = None
    connector_id: BigInt | None = None
    status: Text | None = None
    reason: Text | None = None
    user_id: BigInt | None = None
    booking_id: BigInt | None = None
    started_at: Instant | None = None
    stopped_at: Instant | None = None
    energy: Number | None = None
    energy_consumption: EnergyConsumption | None = None
    non_billable_energy: Number | None = None
    power: Power | None = None
    soc_percent: Number | None = None
    amount: Number | None = None
    total_amount: Amount | None = None
    tax: Tax | None = None
    currency: Text | None = None
    electricity_cost: Number | None = None
    estimated_savings: Number | None = None
    payment_type: Text | None = None
    payment_method_id: Text | None = None
    payment_status: SettledText = None
    payment_status_updated_at: Instant | None = None
    billing_status: SettledText = None
    reimbursement_eligibility: bool | None = None
    receipt_id: BigInt | None = None
    terminal_id: BigInt | None = None
    tariff_snapshot_id: BigInt | None = None
    authorization_id: BigInt | None = None
    authorization: Authorization | None = None
    id_tag: Text | None = None
    id_tag_label: Text | None = None
    original_session_id: BigInt | None = None
    extended_by_session_id: BigInt | None = None
    external_session_id: Text | None = None
    charging_periods: tuple[ChargingPeriod, ...] | None = None
    price_breakdown: tuple[JsonObject, ...] | None = None
    evse_physical_reference: Text | None = None
    roaming: SessionRoaming | None = None
    external_app_data: JsonObject | None = None
    last_updated_at: Instant

    @property
    def energy_wh(self) -> Decimal | None:
        """The energy delivered, in Wh: ``energyConsumption.total``, else the deprecated ``energy``."""
        consumption = self.energy_consumption
        return self.energy if consumption is None or consumption.total is None else consumption.total

    @property
    def amount_with_tax(self) -> Decimal | None:
        """The price with tax: ``totalAmount.withTax``, else the deprecated ``amount``."""
        total = self.total_amount
        return self.amount if total is None or total.with_tax is None else total.with_tax

    @property
    def amount_without_tax(self) -> Decimal | None:
        """The price without tax: ``totalAmount.withoutTax``, the only field that has it."""
        return None if self.total_amount is None else self.total_amount.without_tax


class BootDetails(Model):
    """What a charge point reported of itself in its latest boot notification."""

    model: Text | None = None
    vendor: Text | None = None
    charge_box_serial_number: Text | None = None
    charge_point_serial_number: Text | None = None
    firmware_version: Text | None = None
    iccid: Text | None = None
    imsi: Text | None = None
    meter_serial_number: Text | None = None
    meter_type: Text | None = None
    reason: Text | None = None
    last_updated_at: Instant | None = None


class Network(Model):
    """A charge point's OCPP identity and protocol, such as ``ocpp 1.6``."""

    id: Text | None = None
    protocol: Text | None = None


class Owner(Model):
    """The partner or the user to which a charge point belongs."""

    id: BigInt | None = None


class ChargePoint(Model):
    """A charge point's master data and its latest statuses (AMPECO API, charge points v2.0).

    ``last_updated_at`` dates the master data; without it, the time at which the read began does.
    Only newer versions of AMPECO send the two status times.
    """

    id: BigInt
    name: Text | None = None
    type: Text | None = None
    location_id: BigInt | None = None
    charging_zone_id: BigInt | None = None
    network: Network | None = None
    status: SystemStatus | None = None
    network_status: NetworkStatus | None = None
    hardware_status: HardwareStatusText | None = None
    vendor_error_code: Text | None = None
    model_id: BigInt | None = None
    external_id: Text | None = None
    roaming_operator_id: BigInt | None = None
    managed_by_operator: bool | None = None
    partner: Owner | None = None
    user: Owner | None = None
    communication_mode: Text | None = None
    capabilities: tuple[Text, ...] | None = None
    tags: tuple[Text, ...] | None = None
    created_at: Instant | None = None
    first_contact_at: InstantOrDay | None = None
    uptime_tracking_enabled: bool | None = None
    uptime_tracking_activated_at: InstantOrDay | None = None
    last_boot_notification: BootDetails | None = None
    last_hardware_status_update_at: Instant | None = None
    last_network_status_update_at: Instant | None = None
    last_updated_at: Instant | None = None


class Connector(Model):
    """A connector of an EVSE."""

    id: BigInt
    type: Text | None = None
    format: Text | None = None
    status: SystemStatus | None = None


class PowerOptions(Model):
    """The limits of an EVSE: ``max_power`` in W (the schema's "Wh" is an error), ``max_amperage`` in A.

    ``max_voltage`` is text, because it may be a range such as ``220-240``.
    """

    max_power: WholeNumber | None = None
    max_voltage: Text | None = None
    max_amperage: Number | None = None
    phases: Text | None = None
    phase_rotation: Text | None = None
    connected_phase: Text | None = None


class EvseRoaming(Model):
    """The roaming data of an EVSE."""

    evse_id: Text | None = None
    physical_reference: Text | None = None
    status: Text | None = None


class Evse(Model):
    """An EVSE's master data, its hardware status and its connectors (AMPECO API, EVSEs v2.1).

    ``charge_point_id`` is None if the EVSE is nested in its charge point's own answer,
    ``last_updated_at`` is None in ChargePointChangedNotification, and ``connectors`` is None if the
    query did not include them.
    """

    id: BigInt
    charge_point_id: BigInt | None = None
    physical_reference: Text | None = None
    label: Text | None = None
    current_type: Text | None = None
    network_id: Text | None = None
    status: SystemStatus | None = None
    tariff_group_id: BigInt | None = None
    allows_reservation: bool | None = None
    booking_enabled: bool | None = None
    power_options: PowerOptions | None = None
    external_id: Text | None = None
    roaming_operator_id: BigInt | None = None
    roaming: EvseRoaming | None = None
    hardware_status: HardwareStatusText | None = None
    last_hardware_status_update_at: Instant | None = None
    connectors: tuple[Connector, ...] | None = None
    created_at: Instant | None = None
    last_updated_at: Instant | None = None


class Geoposition(Model):
    """A position in degrees, WGS 84."""

    latitude: Number | None = None
    longitude: Number | None = None


class ChargingZone(Model):
    """A part of a location, with some of its charge points."""

    id: BigInt
    name: Text | None = None
    status: SystemStatus | None = None


class Location(Model):
    """A site (AMPECO API, locations v2.0; LocationChangedNotification in its older shape).

    The older shape has snake_case keys, and translations as one object. Both shapes are parsed into
    the same fields. ``charging_zones`` is None if the query did not include them.
    """

    id: BigInt
    external_id: Text | None = None
    name: Localised = Field(default_factory=dict)
    address: Localised = Field(default_factory=dict)
    description: Localised = Field(default_factory=dict)
    geoposition: Geoposition | None = None
    city: Text | None = None
    region: Text | None = None
    country: Text | None = None
    post_code: Text | None = None
    timezone: Text | None = None
    status: SystemStatus | None = None
    working_hours: JsonObject | None = None
    charging_zones: tuple[ChargingZone, ...] | None = None
    roaming_operator_id: BigInt | None = None
    tags: tuple[Text, ...] | None = None
    last_updated_at: Instant | None = None

    @property
    def default_name(self) -> str | None:
        """The name in English, else in the first language."""
        return _default(self.name)

    @property
    def default_address(self) -> str | None:
        """The address in English, else in the first language."""
        return _default(self.address)

    @property
    def latitude(self) -> Decimal | None:
        """The latitude in degrees, WGS 84."""
        return self.geoposition.latitude if self.geoposition else None

    @property
    def longitude(self) -> Decimal | None:
        """The longitude in degrees, WGS 84."""
        return self.geoposition.longitude if self.geoposition else None


def _default(texts: dict[str, str]) -> str | None:
    return texts.get("en") or next(iter(texts.values()), None)


class StatusLogEntry(Model):
    """One hardware status that a charge point or an EVSE reported, with the time of its report."""

    status: HardwareStatusText | None
    timestamp: Instant
    error_code: Word | None = None
    vendor_id: Text | None = None
    info: Text | None = None
    vendor_error_code: Text | None = None
    error_code_description: Text | None = None
    error_code_customer_action: Text | None = None


class NetworkStatusLogEntry(StatusLogEntry):
    """One change of a charge point's connection, with its time."""

    status: NetworkStatus


class ConsumptionPoint(Model):
    """One point of a session's consumption; of a finished session AMPECO shows at most 300, aggregated.

    ``energy`` is cumulative. Whether it counts from the start of the session is not documented.
    """

    energy: Number | None = None
    power: Number | None = None
    timestamp: Instant


class Webhook(Model):
    """The address to which a subscription delivers."""

    callback_url: Annotated[Text | None, DECISIVE] = None


class Subscription(Model):
    """A subscription to notifications (AMPECO API, notifications v2.0).

    ``via`` is ``webhook`` or ``kafka``; ``webhook`` is None for the latter. AMPECO can disable a
    subscription, but does not document the field that shows it, so ``enabled`` and ``status`` are
    guesses and may be absent. The callback URL and the notification types are decisive, because the
    subscription monitor repairs a subscription that differs in them.
    """

    id: BigInt
    via: Text | None = None
    notifications: Annotated[tuple[Text, ...], DECISIVE] = ()
    webhook: Annotated[Webhook | None, DECISIVE] = None
    enabled: Any = None
    status: Any = None
    include_timestamp_in_signature: Any = None

    @property
    def options(self) -> dict[str, Any]:
        """What we do not set, by AMPECO's names: a change of the subscription has to repeat it.

        Times are left out, because AMPECO sets them itself.
        """
        options = _options(self)
        if self.webhook is not None and (of_webhook := _options(self.webhook)):
            options["webhook"] = of_webhook
        return options

    @property
    def kafka_topic(self) -> str | None:
        """The topic to which the subscription delivers, if it delivers through Kafka."""
        kafka = (self.model_extra or {}).get("kafka")
        topic = kafka.get("topic") if self.via == "kafka" and isinstance(kafka, dict) else None
        return topic if isinstance(topic, str) else None

    @property
    def is_disabled(self) -> bool:
        """Whether AMPECO shows that the subscription is disabled."""
        return self.enabled is False or self.status in ("disabled", "inactive")


def _options(model: Model) -> dict[str, Any]:
    extra = model.model_extra or {}
    return {
        name: value
        for name, value in extra.items()
        if not isinstance(value, Unreadable) and not name.endswith(("At", "AtLocal"))
    }
