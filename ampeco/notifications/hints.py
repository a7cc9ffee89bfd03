"""The payloads of hints: notifications which only say that an entity changed.

Few carry more than an id. ``ampeco.resources.kinds`` lists the read that each one requests. The snapshots in
two of them, tariff and user, are kept until the entity is read (AMPECO API, callbacks of
notifications v2.0).
"""

from __future__ import annotations

from pydantic import Field

from ampeco.notifications.payloads import Payload
from ampeco.resources.commercial import Resource, Tariff
from ampeco.values import BigInt, Instant, Number, Text, Word


class Hint(Payload):
    """A hint; ``action`` is ``created``, ``updated``, ``deleted``, or a word that AMPECO adds."""

    action: Text | None = None
    last_updated_at: Instant | None = None


class AuthorizationChanged(Hint):
    """authorization.changed, or the deprecated AuthorizationNotification, whose ``status`` is a word of OCPP."""

    authorization_id: BigInt
    charge_point_id: BigInt | None = None
    id_tag: Text | None = None
    status: Text | None = None


class CdrReceived(Hint):
    """cdr.received, for a new CDR; ``id`` is the sender's, which is text, not AMPECO's."""

    id: Word
    created_at: Instant | None = None


class CircuitChanged(Hint):
    """circuit.changed."""

    circuit_id: BigInt


class IdTagChanged(Hint):
    """idTag.changed; ``id_tags_id`` is a single id, despite its name."""

    id_tags_id: BigInt


class InstallerJobChanged(Hint):
    """installerJob.changed."""

    id: BigInt
    status: Text | None = None
    installation_and_maintenance_company_id: BigInt | None = None
    location_id: BigInt | None = None
    installer_admin_id: BigInt | None = None
    description: Text | None = None
    outcome_details: Text | None = None
    created_at: Instant | None = None


class ParkingSpaceOccupied(Hint):
    """parkingSpace.occupancyStatus.changed; the status is ``available`` or ``occupied``."""

    parking_space_id: BigInt
    occupancy_status: Text | None = None


class PartnerChanged(Hint):
    """partner.changed; only ``deleted`` comes with more than the id."""

    partner_id: BigInt
    external_id: Text | None = None
    company_name: Text | None = None
    business_name: Text | None = None
    reg_no: Text | None = None
    vat_no: Text | None = None
    country: Text | None = None


class PartnerInviteChanged(Hint):
    """partnerInvite.changed."""

    partner_invite_id: BigInt
    user_id: BigInt | None = None
    email: Text | None = None
    allow_corporate_account_billing: bool | None = None
    limit_corporate_account_billing_to_partner_charge_points: bool | None = None
    allow_access_to_private_charge_points: bool | None = None


class ReservationChanged(Hint):
    """reservation.changed."""

    reservation_id: BigInt
    status: Text | None = None


class RoamingPlatformChanged(Hint):
    """roamingPlatform.changed."""

    roaming_platform_id: BigInt


class SettlementReportCreated(Hint):
    """settlementReport.created; energies in kWh, money in ``currency``."""

    id: BigInt
    report_uid: Text | None = None
    partner_id: BigInt | None = None
    issue_date: Instant | None = None
    period: Text | None = None
    total_kwh_delivered_as_cpo: Number | None = Field(default=None, alias="totalKwhDeliveredAsCPO")
    total_kwh_delivered_as_emsp: Number | None = None
    total_revenue_collected_current_period: Number | None = None
    total_revenue_collected_previous_periods: Number | None = None
    total_collected_balance_current_period: Number | None = None
    total_collected_balance_previous_periods: Number | None = None
    total_revenue: Number | None = None
    total_expenses: Number | None = None
    total_amount: Number | None = None
    currency: Text | None = None


class SubOperatorChanged(Hint):
    """SubOperatorChangedNotification."""

    sub_operator: Resource


class TransactionChanged(Hint):
    """transaction.changed."""

    transaction_id: BigInt


class TariffChanged(Hint):
    """TariffChangedNotification, with a snapshot of the tariff."""

    tariff: Tariff


class UserChanged(Hint):
    """UserChangedNotification, with a snapshot of the user, without secrets."""

    user: Resource
