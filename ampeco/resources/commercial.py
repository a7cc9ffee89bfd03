"""AMPECO's commercial resources: transactions, reservations, roaming CDRs and tariffs.

Units and conventions are those of ``ampeco.resources.charging`` (AMPECO API, transactions v1.0, reservations
v1.0, cdrs v2.0, tariffs v1.0).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

from ampeco.model import Model
from ampeco.resources.charging import Owner
from ampeco.values import BigInt, Instant, JsonObject, Number, Text, Word

#: OCPI and OICP count energy in kWh.
WH_OF_A_KWH = 1000


def none_if_empty(value: object) -> object:
    """Return None for ``[]``, which is how PHP writes an object without keys."""
    return None if value == [] else value


class Resource(Model):
    """An entity of which only the id and the time are parsed; the rest is kept as JSON."""

    id: BigInt
    last_updated_at: Instant | None = None


class Transaction(Resource):
    """A payment. ``total_amount`` is in major units of ``currency``."""

    number: Text | None = None
    created_at: Instant | None = Field(default=None, alias="date")
    session_id: BigInt | None = None
    user_id: BigInt | None = None
    total_amount: Number | None = None
    currency: Text | None = None
    status: Text | None = None
    purchase_resource_type: Text | None = None
    purchase_resource_id: BigInt | None = None
    payment_method_id: Text | None = None
    billing_type: Text | None = None
    ref: Text | None = None
    failure_reason: Text | None = None
    invoice_id: BigInt | None = None
    receipt_id: BigInt | None = None
    terminal_id: BigInt | None = None
    voucher_id: BigInt | None = None
    finalized_at: Instant | None = None


class Reservation(Resource):
    """An EVSE that is kept free for a user, from ``reserved_at`` for ``duration_minutes``."""

    charge_point_id: BigInt | None = None
    evse_id: BigInt | None = None
    user_id: BigInt | None = None
    status: Text | None = None
    reserved_at: Instant | None = None
    canceled_at: Instant | None = None
    duration_minutes: Number | None = Field(default=None, alias="duration")


class OcpiData(Model):
    """The parts of an OCPI CDR that have columns: energy in kWh, cost without tax."""

    currency: Text | None = None
    total_cost: Number | None = None
    total_energy: Number | None = None


class OicpData(Model):
    """The part of a Hubject CDR that has a column: energy in kWh."""

    consumed_energy: Number | None = None


class Cdr(Resource):
    """A charge detail record of roaming, sent by the tenant (``is_local``) or received.

    ``roaming_id`` is the charge point operator's id of it, and the only id in a notification.
    """

    operator_id: BigInt | None = None
    platform_id: BigInt | None = None
    protocol_type: Text | None = None
    roaming_id: Word | None = None
    session_reference: Text | None = Field(default=None, alias="sessionId")
    is_local: bool | None = None
    is_credit: bool | None = Field(default=None, alias="credit")
    started_at: Instant | None = Field(default=None, alias="startTime")
    ended_at: Instant | None = Field(default=None, alias="endTime")
    received_at: Instant | None = None
    sent_at: Instant | None = None
    delivery_response: Text | None = None
    ocpi_data: Annotated[OcpiData | None, BeforeValidator(none_if_empty)] = None
    oicp_data: Annotated[OicpData | None, BeforeValidator(none_if_empty)] = None

    @property
    def energy_wh(self) -> Decimal | None:
        """Energy in Wh, from OCPI or else from OICP."""
        energies = (self.ocpi_data and self.ocpi_data.total_energy, self.oicp_data and self.oicp_data.consumed_energy)
        energy_kwh = next((energy for energy in energies if isinstance(energy, Decimal)), None)
        return None if energy_kwh is None else energy_kwh * WH_OF_A_KWH

    @property
    def amount_without_tax(self) -> Decimal | None:
        """The cost without tax, in ``currency``; OICP has none."""
        return self.ocpi_data.total_cost if self.ocpi_data else None

    @property
    def currency(self) -> str | None:
        """The currency of the cost, as in ISO 4217."""
        return self.ocpi_data.currency if self.ocpi_data else None


class Pricing(Model):
    """The prices of a plain tariff; the other ones of a more detailed tariff are kept as JSON."""

    price_per_kwh: Number | None = None
    price_per_session: Number | None = None
    connection_fee: Number | None = None
    idle_fee_per_minute: Number | None = None
    min_price: Number | None = None


class Tariff(Resource):
    """The prices of charging, in ``currency``."""

    name: Text | None = None
    type: Text | None = None
    currency: Text | None = None
    pricing: Annotated[Pricing | None, BeforeValidator(none_if_empty)] = None
    restrictions: JsonObject | None = None
    partner: Annotated[Owner | None, BeforeValidator(none_if_empty)] = None
    external_id: Text | None = None

    @property
    def partner_id(self) -> int | None:
        """The partner that the tariff belongs to."""
        return self.partner.id if self.partner else None

    @property
    def price_per_kwh(self) -> Decimal | None:
        """The price of a kWh, in ``currency``."""
        return self.pricing.price_per_kwh if self.pricing else None

    @property
    def price_per_session(self) -> Decimal | None:
        """The price of a session, in ``currency``."""
        return self.pricing.price_per_session if self.pricing else None

    @property
    def connection_fee(self) -> Decimal | None:
        """The price of connecting, in ``currency``."""
        return self.pricing.connection_fee if self.pricing else None

    @property
    def idle_fee_per_minute(self) -> Decimal | None:
        """The price of a minute without charging, in ``currency``."""
        return self.pricing.idle_fee_per_minute if self.pricing else None

    @property
    def min_price(self) -> Decimal | None:
        """The lowest price of a session, in ``currency``."""
        return self.pricing.min_price if self.pricing else None
