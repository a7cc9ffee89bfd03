"""The payloads of notices: notifications with a fact of their own.

No read of the API returns these facts again, or at least not by the ids that they name, so each is
stored as it was sent (AMPECO API, callbacks of notifications v2.0).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

from ampeco.model import Model
from ampeco.notifications.payloads import Payload
from ampeco.values import BigInt, Instant, JsonObject, Number, Text


def _latest(times: Iterable[datetime | None]) -> datetime | None:
    return max((time for time in times if time is not None), default=None)


class Notice(Payload):
    """A notice; ``subject`` is one word for what it is about."""

    subject: ClassVar[str]

    charge_point_id: BigInt | None = None
    evse_id: BigInt | None = None
    session_id: BigInt | None = None
    user_id: BigInt | None = None
    circuit_id: BigInt | None = None

    @property
    def observed_at(self) -> datetime | None:
        """The time of the fact by its source's clock, or None if the payload has none."""
        return None


class SecurityEvent(Notice):
    """A security event of a charge point, SecurityEventNotification; ``type`` is OCPP's word."""

    subject = "security_event"

    charge_point_id: BigInt
    type: Text | None = None
    tech_info: Text | None = None
    critical: bool | None = None
    timestamp: Instant

    @property
    def observed_at(self) -> datetime:
        """The time of the event."""
        return self.timestamp


class Diagnostics(Notice):
    """The progress of an upload of diagnostics, DiagnosticsStatusNotification."""

    subject = "diagnostics"

    charge_point_id: BigInt
    request_id: BigInt | None = None
    status: Text | None = None
    last_updated_at: Instant

    @property
    def observed_at(self) -> datetime:
        """The time of the status."""
        return self.last_updated_at


class DataTransfer(Notice):
    """A vendor's own message, chargePoint.dataTransferReceived, which carries no time."""

    subject = "data_transfer"

    charge_point_id: BigInt
    vendor_id: Text | None = None
    message_id: Text | None = None
    data: Text | None = None


class ConfigurationKey(Model):
    """One key of a charge point's configuration, with the time at which it was read."""

    last_updated_at: Instant | None = None


class ConfigurationSynced(Notice):
    """A charge point's configuration as it reported it, ChargePointSyncConfigurationNotification."""

    subject = "configuration"

    charge_point_id: BigInt
    request_id: BigInt | None = None
    error: Text | None = None
    configuration: tuple[ConfigurationKey, ...] = ()

    @property
    def observed_at(self) -> datetime | None:
        """The latest time among its keys."""
        return _latest(key.last_updated_at for key in self.configuration)


class ChargingProfileApplied(Notice):
    """A charging profile that was applied, chargingProfile.applied."""

    subject = "charging_profile"

    charge_point_id: BigInt
    charging_profile: JsonObject | None = None
    applied_at: Instant

    @property
    def observed_at(self) -> datetime:
        """The time at which it was applied."""
        return self.applied_at


class PhaseConsumption(Model):
    """The consumption of one phase of a circuit, of which only the time is parsed."""

    last_updated_at: Instant | None = None


class CircuitConsumption(Notice):
    """The consumption of a circuit in A, CircuitConsumptionNotification."""

    subject = "circuit_consumption"

    max_current: Number | None = None
    min_charge_point_current: Number | None = None
    current_consumption: tuple[PhaseConsumption, ...] = ()

    @property
    def observed_at(self) -> datetime | None:
        """The latest time among its phases."""
        return _latest(phase.last_updated_at for phase in self.current_consumption)


class UserNotice(Notice):
    """A fact about a user, ordered by ``last_updated_at``."""

    user_id: BigInt
    last_updated_at: Instant

    @property
    def observed_at(self) -> datetime:
        """The time of the fact."""
        return self.last_updated_at


class UserBalanceChanged(UserNotice):
    """A debit or credit of a user's balance, userBalance.changed."""

    subject = "user_balance"

    debit: Number | None = None
    credit: Number | None = None
    updated_balance: Number | None = None
    currency: Text | None = None
    type: Text | None = None
    transaction_id: BigInt | None = None
    timestamp: Instant | None = None

    @property
    def observed_at(self) -> datetime:
        """The time of the debit or credit."""
        return self.timestamp or self.last_updated_at


class UserSubscriptionChanged(UserNotice):
    """A user's plan, user.subscription.changed or the deprecated user.subscriptionChanged."""

    subject = "user_subscription"

    plan_id: BigInt | None = None
    status: Text | None = None
    ends_at: Instant | None = None
    end_date: Instant | None = None


class PaymentMethodChanged(UserNotice):
    """A user's payment method, user.paymentMethod.changed."""

    subject = "payment_method"

    payment_method_id: Text | None = None
    action: Text | None = None


class InvoiceDetailsChanged(UserNotice):
    """A user's details for invoices, user.invoiceDetails.changed."""

    subject = "invoice_details"

    action: Text | None = None
