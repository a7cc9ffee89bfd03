"""Every notification that AMPECO can send, and what we do with it.

The names are those of the subscribe call's enumeration and of the documented callbacks, which
differ by one (AMPECO API 3.110.0, notifications v2.0). ``docs/ampeco.md`` shows the table to
people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ampeco import hints, notices, payloads
from ampeco.payloads import Payload

#: ``undocumented``: AMPECO accepts the name in a subscription, and publishes no payload for it.
Status = Literal["current", "deprecated", "undocumented"]


@dataclass(frozen=True, slots=True)
class NotificationType:
    """A notification by its name.

    ``successor`` names what replaces it, ``handler`` is the model that reads its payload, or
    None where we keep no state of it, ``subscribable`` tells whether AMPECO accepts the name
    in a subscription.
    """

    name: str
    status: Status = "current"
    successor: str | None = None
    handler: type[Payload] | None = None
    subscribable: bool = True


CATALOGUE: tuple[NotificationType, ...] = (
    # Sessions.
    NotificationType("session.start.stop.notification", handler=payloads.SessionStartStop),
    NotificationType("SessionUpdateNotification", handler=payloads.SessionUpdate),
    NotificationType("SessionMeterValuesNotification", handler=payloads.SessionMeterValues),
    NotificationType(
        "SessionStartStopNotification",
        "deprecated",
        "session.start.stop.notification",
        handler=payloads.SessionStartStop,
    ),
    # Statuses.
    NotificationType("HardwareStatusNotification", handler=payloads.HardwareStatus),
    NotificationType("NetworkStatusNotification", handler=payloads.NetworkStatusChanged),
    NotificationType("BootNotification", handler=payloads.Boot),
    # Master data.
    NotificationType("chargePoint.changed", handler=payloads.ChargePointChanged),
    NotificationType("evse.changed", handler=payloads.EvseChanged),
    NotificationType("LocationChangedNotification", handler=payloads.LocationChanged),
    NotificationType(
        "ChargePointChangedNotification",
        "deprecated",
        "chargePoint.changed",  # together with evse.changed
        handler=payloads.ChargePointSnapshotChanged,
    ),
    # Commerce.
    NotificationType("authorization.changed", handler=hints.AuthorizationChanged),
    NotificationType(
        "AuthorizationNotification", "deprecated", "authorization.changed", handler=hints.AuthorizationChanged
    ),
    NotificationType("transaction.changed", handler=hints.TransactionChanged),
    NotificationType("reservation.changed", handler=hints.ReservationChanged),
    NotificationType("cdr.received", handler=hints.CdrReceived),
    NotificationType("TariffChangedNotification", handler=hints.TariffChanged),
    # Entities that are kept as JSON.
    NotificationType("circuit.changed", handler=hints.CircuitChanged),
    NotificationType("idTag.changed", handler=hints.IdTagChanged),
    NotificationType("installerJob.changed", handler=hints.InstallerJobChanged),
    NotificationType("parkingSpace.occupancyStatus.changed", handler=hints.ParkingSpaceOccupied),
    NotificationType("partner.changed", handler=hints.PartnerChanged),
    NotificationType("partnerInvite.changed", handler=hints.PartnerInviteChanged),
    NotificationType("roamingPlatform.changed", handler=hints.RoamingPlatformChanged),
    NotificationType("settlementReport.created", handler=hints.SettlementReportCreated),
    NotificationType("SubOperatorChangedNotification", handler=hints.SubOperatorChanged),
    NotificationType("UserChangedNotification", handler=hints.UserChanged),
    # Facts of their own.
    NotificationType("chargePoint.dataTransferReceived", handler=notices.DataTransfer),
    NotificationType("ChargePointSyncConfigurationNotification", handler=notices.ConfigurationSynced),
    NotificationType("chargingProfile.applied", handler=notices.ChargingProfileApplied),
    NotificationType("CircuitConsumptionNotification", handler=notices.CircuitConsumption),
    NotificationType("DiagnosticsStatusNotification", handler=notices.Diagnostics),
    NotificationType("SecurityEventNotification", handler=notices.SecurityEvent),
    NotificationType("user.invoiceDetails.changed", handler=notices.InvoiceDetailsChanged),
    NotificationType("user.paymentMethod.changed", handler=notices.PaymentMethodChanged),
    NotificationType("user.subscription.changed", handler=notices.UserSubscriptionChanged),
    NotificationType(
        "user.subscriptionChanged",
        "deprecated",
        "user.subscription.changed",
        handler=notices.UserSubscriptionChanged,
    ),
    NotificationType("userBalance.changed", handler=notices.UserBalanceChanged),
    # Nobody says what these carry; their successors do.
    NotificationType("PartnerInviteChangedNotification", "undocumented", "partnerInvite.changed"),
    NotificationType("PaymentMethodChangedNotification", "undocumented", "user.paymentMethod.changed"),
    NotificationType("ReservationChangedNotification", "undocumented", "reservation.changed"),
    NotificationType("subscriptionPlan.changed", "undocumented"),
    # It names a user where it means a partner, and tells no time: it says nothing to rely on.
    NotificationType("PartnerChangedNotification", "deprecated", "partner.changed", subscribable=False),
)

_BY_NAME = {known.name: known for known in CATALOGUE}

#: The names that AMPECO accepts in a subscription.
SUBSCRIBABLE: tuple[str, ...] = tuple(known.name for known in CATALOGUE if known.subscribable)

#: What a tenant is subscribed to unless its operator chooses: all that we keep state from,
#: without the deprecated names, which would say the same things twice.
DEFAULT_SUBSCRIPTION: tuple[str, ...] = tuple(
    known.name for known in CATALOGUE if known.handler is not None and known.status == "current"
)


def lookup(name: str) -> NotificationType | None:
    """Return the notification of that name, or None where the catalogue does not hold it."""
    return _BY_NAME.get(name)
