"""AMPECO's resources about partners and roaming operators: contracts, revenues and expenses.

Units and conventions are those of ``ampeco.resources.charging`` (AMPECO API, partner contracts v1.0, partner revenues
and expenses v1.1 and v1.2, roaming operators v2.0).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

from ampeco.model import Model
from ampeco.resources.charging import Amount
from ampeco.resources.commercial import Resource, none_if_empty
from ampeco.values import BigInt, Instant, Number, Text


class RevenueSharing(Model):
    """How a partner and the operator share revenue; the other terms are kept as JSON."""

    partner_share_percentage_ac_evse: Number | None = None
    partner_share_percentage_dc_evse: Number | None = None


class MonthlyPlatformFees(Model):
    """What a partner pays each month for its equipment, without tax."""

    per_charge_point: Number | None = None
    per_ac_evse: Number | None = None
    per_dc_evse: Number | None = None


class PartnerContract(Resource):
    """A contract with a partner, from ``starts_at`` to ``ends_at``."""

    title: Text | None = None
    partner_id: BigInt | None = None
    starts_at: Instant | None = Field(default=None, alias="startDate")
    ends_at: Instant | None = Field(default=None, alias="endDate")
    is_renewed_automatically: bool | None = Field(default=None, alias="autoRenewal")
    external_id: Text | None = None
    revenue_sharing: Annotated[RevenueSharing | None, BeforeValidator(none_if_empty)] = None
    monthly_platform_fees: Annotated[MonthlyPlatformFees | None, BeforeValidator(none_if_empty)] = None

    @property
    def partner_share_ac_percent(self) -> Decimal | None:
        """The partner's share of the revenue at AC EVSEs, in percent."""
        return self.revenue_sharing.partner_share_percentage_ac_evse if self.revenue_sharing else None

    @property
    def partner_share_dc_percent(self) -> Decimal | None:
        """The partner's share of the revenue at DC EVSEs, in percent."""
        return self.revenue_sharing.partner_share_percentage_dc_evse if self.revenue_sharing else None

    @property
    def monthly_fee_per_charge_point(self) -> Decimal | None:
        """The monthly fee for each charge point, without tax."""
        return self.monthly_platform_fees.per_charge_point if self.monthly_platform_fees else None

    @property
    def monthly_fee_per_ac_evse(self) -> Decimal | None:
        """The monthly fee for each AC EVSE, without tax."""
        return self.monthly_platform_fees.per_ac_evse if self.monthly_platform_fees else None

    @property
    def monthly_fee_per_dc_evse(self) -> Decimal | None:
        """The monthly fee for each DC EVSE, without tax."""
        return self.monthly_platform_fees.per_dc_evse if self.monthly_platform_fees else None


class PartnerEntry(Resource):
    """An entry in a partner's account: a revenue or an expense, in ``currency``."""

    partner_id: BigInt | None = None
    booked_at: Instant | None = Field(default=None, alias="date")
    origin: Text | None = None
    total_amount: Annotated[Amount | None, BeforeValidator(none_if_empty)] = None
    currency: Text | None = Field(default=None, alias="currencyCode")
    settlement_report_id: BigInt | None = None
    session_id: BigInt | None = Field(default=None, alias="chargingSessionId")

    @property
    def amount_with_tax(self) -> Decimal | None:
        """The amount with tax, in ``currency``, if AMPECO shows it."""
        return self.total_amount.with_tax if self.total_amount else None

    @property
    def amount_without_tax(self) -> Decimal | None:
        """The amount without tax, in ``currency``."""
        return self.total_amount.without_tax if self.total_amount else None


class PartnerRevenue(PartnerEntry):
    """What a partner and the operator earn by a session, or a reimbursement."""

    operator_share: Number | None = None
    partner_share: Number | None = None
    electricity_cost: Number | None = None
    remaining_revenue: Number | None = None
    collected_at: Instant | None = None


class PartnerExpense(PartnerEntry):
    """What a partner owes: a platform fee, or a session of its users."""

    discount_percent: Number | None = Field(default=None, alias="operatorDiscountPercentage")
    discount_amount: Number | None = Field(default=None, alias="operatorDiscountAmount")


class RoamingOperator(Resource):
    """A charge point operator or a mobility service provider that the tenant roams with."""

    role: Text | None = None
    business_name: Text | None = None
    hubject_id: Text | None = None
    platform_id: BigInt | None = None
    partner_id: BigInt | None = None
    is_enabled: bool | None = Field(default=None, alias="enabled")
    country_code: Text | None = None
    party_id: Text | None = None
