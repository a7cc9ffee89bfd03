"""Every notification type that AMPECO can send, and the model that parses it.

The names are those of the subscribe call's enumeration and of the documented callbacks, which
differ by one (AMPECO API 3.110.0, notifications v2.0). ``docs/ampeco.md`` shows the same table.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from ampeco.notifications import hints, notices, payloads
from ampeco.notifications.payloads import Payload

#: ``undocumented``: AMPECO accepts the name in a subscription, and publishes no payload for it.
Status = Literal["current", "deprecated", "undocumented"]


@dataclass(frozen=True, slots=True)
class NotificationType:
    """A notification type.

    ``successor`` names the type that replaces it. ``handler`` is the model that parses its payload,
    or None if we keep no state of it. ``subscribable`` is whether AMPECO accepts the name in a
    subscription.
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
    # Notices: facts of their own.
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
    # AMPECO does not document the payloads of these, only those of their successors.
    NotificationType("PartnerInviteChangedNotification", "undocumented", "partnerInvite.changed"),
    NotificationType("PaymentMethodChangedNotification", "undocumented", "user.paymentMethod.changed"),
    NotificationType("ReservationChangedNotification", "undocumented", "reservation.changed"),
    NotificationType("subscriptionPlan.changed", "undocumented"),
    # It names a user where it means a partner, and has no time, so nothing in it is reliable.
    NotificationType("PartnerChangedNotification", "deprecated", "partner.changed", subscribable=False),
)

_BY_NAME = {known.name: known for known in CATALOGUE}

#: The names that AMPECO accepts in a subscription.
SUBSCRIBABLE: tuple[str, ...] = tuple(known.name for known in CATALOGUE if known.subscribable)

#: The types that a tenant is subscribed to unless `tenants.toml` names others: all that we keep
#: state of, without the deprecated ones, which would repeat the same facts.
DEFAULT_SUBSCRIPTION: tuple[str, ...] = tuple(
    known.name for known in CATALOGUE if known.handler is not None and known.status == "current"
)


def lookup(name: str) -> NotificationType | None:
    """Return the notification type of that name, or None if the catalogue does not contain it."""
    return _BY_NAME.get(name)


def why_unknown(name: str) -> str | None:
    """Return why notifications of a type cannot be applied, in one sentence; None if the catalogue contains it."""
    if lookup(name) is not None:
        return None
    close = difflib.get_close_matches(name, [known.name for known in CATALOGUE], n=1)
    suggestion = f" Did you mean {close[0]}?" if close else ""
    return f"this release does not know {name}, and applying it again would change nothing.{suggestion}"
