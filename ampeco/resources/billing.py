"""AMPECO's resources about billing: groups and snapshots of tariffs, receipts, invoices, subscriptions and vouchers.

Units and conventions are those of ``ampeco.resources.charging`` (AMPECO API, tariff groups v1.0, tariff snapshots
v1.0, receipts v2.0, invoices v1.0, subscriptions v1.0, vouchers v2.1).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from ampeco.resources.charging import Tax
from ampeco.resources.commercial import WH_OF_A_KWH, Resource, Tariff, none_if_empty
from ampeco.values import BigInt, Instant, Number, Text


class TariffGroup(Resource):
    """Tariffs that are tried in order for a driver; EVSEs refer to the group."""

    name: Text | None = None
    tariff_ids: tuple[BigInt, ...] | None = None
    partner_id: BigInt | None = None


class TariffSnapshot(Tariff):
    """A tariff as it was when sessions were priced by it; it never changes."""

    tariff_id: BigInt | None = None


class Receipt(Resource):
    """A receipt for one or more payments of a user; AMPECO does not show its currency."""

    number: Text | None = Field(default=None, alias="receiptNo")
    user_id: BigInt | None = None
    total_kwh: Number | None = None
    total_amount: Number | None = None
    tax: Annotated[Tax | None, BeforeValidator(none_if_empty)] = None
    payment_status: Text | None = None
    period_start_at: Instant | None = Field(default=None, alias="periodStart")
    period_end_at: Instant | None = Field(default=None, alias="periodEnd")

    @property
    def energy_wh(self) -> Decimal | None:
        """Energy in Wh."""
        return None if self.total_kwh is None else self.total_kwh * WH_OF_A_KWH

    @property
    def tax_percent(self) -> Decimal | None:
        """The tax on the receipt, in percent."""
        return self.tax.tax_percentage if self.tax else None


class Invoice(Resource):
    """An invoice to a user; AMPECO shows neither its currency nor the unit of its energy."""

    number: Text | None = None
    type: Text | None = None
    issued_at: Instant | None = Field(default=None, alias="date")
    user_id: BigInt | None = None
    period_start_at: Instant | None = Field(default=None, alias="periodFrom")
    period_end_at: Instant | None = Field(default=None, alias="periodTo")
    service: Text | None = None
    quantity: Number | None = None
    unit_price: Number | None = None
    subtotal: Number | None = None
    tax_percent: Number | None = Field(default=None, alias="taxRate")
    tax_amount: Number | None = None
    total_amount: Number | None = None


class UserSubscription(Resource):
    """A user's subscription to a plan, from ``starts_at`` to ``ends_at``."""

    plan_id: BigInt | None = None
    user_id: BigInt | None = None
    status: Text | None = None
    status_at: Instant | None = Field(default=None, alias="statusDate")
    starts_at: Instant | None = Field(default=None, alias="startDate")
    ends_at: Instant | None = Field(default=None, alias="endDate")


class Voucher(Resource):
    """A voucher, without the codes that redeem it."""

    NOT_KEPT: ClassVar[frozenset[str]] = frozenset({"code", "promoCode"})
