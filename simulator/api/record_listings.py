"""The listings of plain records: their paths, filters and paging, as AMPECO documents them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from simulator.api.listings import before, equals, since, to_instant
from simulator.fleet.model import Record

Filters = Mapping[str, Callable[[str], Callable[[Record], bool]]]

#: ``page``: by number only. ``cursor``: by cursor only. ``both``: by number unless the query has a cursor.
Paging = Literal["page", "cursor", "both"]


@dataclass(frozen=True, slots=True)
class RecordListing:
    """A listing of plain records.

    Attributes:
        path: the resource and its version.
        filters: see :class:`simulator.api.listings.Listing`.
        has_read: whether one record can be read by its id.
        is_wrapped: whether a read's answer is wrapped in ``data``.
        changed: the key of the time of the last change; None if AMPECO does not show it.
        parts: fields that are shown only if the request asks for them, by ``include[]`` or ``with…``.
        parts_of_read: fields that a read shows if the request asks for them, and the listing never.
    """

    path: str
    filters: Filters = field(default_factory=dict)
    paging: Paging = "page"
    has_read: bool = True
    is_wrapped: bool = True
    changed: str | None = "lastUpdatedAt"
    parts: frozenset[str] = frozenset()
    parts_of_read: frozenset[str] = frozenset()

    @property
    def resource(self) -> str:
        """The resource, without its version."""
        return self.path.partition("/")[0]


def _same(*names: str, **others: str) -> Filters:
    """Return filters for equal fields; ``others`` are filters that are not named as their field."""
    return {name: equals(_text(key)) for name, key in [*((name, name) for name in names), *others.items()]}


def _between(after: str, until: str, key: str) -> Filters:
    """Return two filters by the time of a field, both inclusive."""
    return {after: since(_time(key)), until: before(_time(key))}


def _text(key: str) -> Callable[[Record], Any]:
    def value(record: Record) -> Any:
        present = _value(record, key)
        return str(present).lower() if isinstance(present, bool) else present

    return value


def _time(key: str) -> Callable[[Record], datetime | None]:
    def value(record: Record) -> datetime | None:
        present = _value(record, key)
        return None if present is None else to_instant(present)

    return value


def _value(record: Record, key: str) -> Any:
    value: Any = record.fields
    for name in key.split("."):
        value = None if value is None else value.get(name)
    return value


def _minutes(record: Record) -> float | None:
    """Return the duration of a downtime period; None while it lasts."""
    start, end = _time("startedAt")(record), _time("endedAt")(record)
    return None if start is None or end is None else (end - start).total_seconds() / 60


def _shorter(text: str) -> Callable[[Record], bool]:
    limit = int(text)
    return lambda record: (minutes := _minutes(record)) is not None and minutes <= limit


def _longer(text: str) -> Callable[[Record], bool]:
    limit = int(text)
    return lambda record: (minutes := _minutes(record)) is not None and minutes >= limit


def _contains(key: str) -> Callable[[str], Callable[[Record], bool]]:
    """Return a filter for records whose list ``key`` contains the value."""
    return lambda text: lambda record: text in map(str, record.fields[key])


def _has_no_partner(text: str) -> Callable[[Record], bool]:
    wanted = text in ("true", "1")
    return lambda record: (record.fields["partnerId"] is None) == wanted


_CHANGED: Filters = {
    "lastUpdatedAfter": since(lambda row: row.changed_at),
    "lastUpdatedBefore": before(lambda row: row.changed_at),
}
_CREATED = _between("createdAfter", "createdBefore", "createdAt")
_DOWNTIME: Filters = {
    **_same("chargePointId", "locationId", "entryMode", "type"),
    "startedAfter": since(_time("startedAt")),
    "stoppedBefore": before(_time("endedAt")),
    "durationLessThan": _shorter,
    "durationGreaterThan": _longer,
    **_CHANGED,
}
_BOOKED: Filters = {
    **_same("status", "userId", "locationId"),
    **_between("startAfter", "startBefore", "startAt"),
    **_between("endAfter", "endBefore", "endAt"),
}
_ACCOUNTED: Filters = {
    **_same("partnerId", "settlementReportId", "origin", "currencyCode"),
    **_between("dateAfter", "dateBefore", "date"),
}
_INVITED: Filters = {
    **_same("partnerId", "status", "userId", inviteEmail="email"),
    **_between("createdFrom", "createdTo", "createdAt"),
    **_between("acceptedAfter", "acceptedBefore", "acceptedAt"),
    **_CHANGED,
}
_FIRMWARE: Filters = {**_same("firmwareVersion", vendorId="chargePointVendorId"), "modelId": _contains("models")}

#: The document writes a version without the blank in the filter, and with it in the resource.
_OCPP_VERSION: Callable[[str], Callable[[Record], bool]] = equals(
    lambda record: _value(record, "ocppVersion").replace(" ", "")
)

_CHARGING = (
    RecordListing("evse-downtime-periods/v1.0", {**_same("evseId"), **_DOWNTIME}, "cursor", changed=None),
    RecordListing("charge-point-downtime-periods/v1.0", _DOWNTIME, "cursor", changed=None),
    RecordListing("downtime-period-notices/v1.0", _same("type"), "cursor"),
    RecordListing(
        "security-events/v2.0",
        {**_same("type", "chargePoint"), **_between("timestampFrom", "timestampTo", "timestamp")},
        "cursor",
        changed=None,
    ),
    RecordListing("bookings/v1.0", _BOOKED, "cursor", parts_of_read=frozenset({"bookedEvses"})),
    RecordListing("booking-requests/v1.0", {**_BOOKED, **_CREATED, **_same("externalId")}, "cursor"),
)

_HARDWARE = (
    RecordListing("charge-point-models/v1.0", _same("vendorId"), changed=None),
    RecordListing("charge-point-vendors/v1.0", changed=None),
    RecordListing("vendor-error-codes/v2.0", changed=None),
    RecordListing("firmware-versions/v1.0", _FIRMWARE, "cursor", changed="updatedAt", parts=frozenset({"models"})),
    RecordListing("payment-terminals/v1.0", _same("serialNumber"), changed=None),
    RecordListing("configuration-templates/v1.0", {"ocppVersion": _OCPP_VERSION}, "cursor"),
    RecordListing("templates/v1.0", has_read=False),
    RecordListing("provisioning-certificates/v2.0", paging="cursor", changed=None),
    RecordListing(
        "installer-jobs/v1.0",
        {
            **_same("installationAndMaintenanceCompanyId", "locationId", "status", "installerAdminId"),
            "chargePointId": lambda text: lambda row: text in {str(one["id"]) for one in row.fields["chargePoints"]},
            **_CREATED,
            **_CHANGED,
        },
        parts_of_read=frozenset({"chargePoints"}),
    ),
    RecordListing(
        "parking-spaces/v1.0",
        {**_same("externalId"), "evseId": _contains("evses"), **_CHANGED},
        "cursor",
        parts=frozenset({"evses"}),
    ),
)

_BILLING = (
    RecordListing("tariff-groups/v1.0", {**_same("partnerId"), **_CHANGED}, "both"),
    RecordListing(
        "receipts/v2.0",
        {
            **_same("userId", "paymentStatus", taxId="tax.taxId"),
            "periodStart": since(_time("periodStart")),
            "periodEnd": before(_time("periodEnd")),
        },
        changed=None,
    ),
    RecordListing("invoices/v1.0", _between("issuedFrom", "issuedTo", "date")),
    RecordListing(
        "subscriptions/v1.0",
        {
            **_same("planId", "status", billedExternally="shouldUseExternalBilling"),
            **_between("endDateFrom", "endDateTo", "endDate"),
        },
        "both",
    ),
    RecordListing("subscription-plans/v2.0", _CHANGED),
    RecordListing("currencies/v2.0", is_wrapped=False, changed=None),
    RecordListing(
        "currency-rates/v1.0",
        {
            **_same("base", "target"),
            "updatedAfter": since(lambda row: row.changed_at),
            "updatedBefore": before(lambda row: row.changed_at),
        },
        "cursor",
        changed="updatedAt",
    ),
    RecordListing("taxes/v2.0"),
    RecordListing("tax-identification-numbers/v2.0"),
    RecordListing("custom-fees/v2.0", _CREATED),
    RecordListing(
        "vouchers/v2.1",
        {
            **_same("type", "status", "code", userId="redeemedByUserId"),
            "createdAt": lambda text: lambda row: row.fields["createdAt"].startswith(text),
            **_between("redeemedAfter", "redeemedBefore", "redeemedAt"),
            **_between("expireDateAfter", "expireDateBefore", "expireDate"),
        },
    ),
    RecordListing("top-up-packages/v2.0", _same("enabled"), changed=None),
)

_PARTNERS = (
    RecordListing("partner-contracts/v1.0", _CHANGED),
    *(
        RecordListing(f"partner-revenues/{version}", _ACCOUNTED, "cursor", has_read=False, changed=None)
        for version in ("v1.2", "v1.1")
    ),
    *(
        RecordListing(
            f"partner-expenses/{version}",
            _ACCOUNTED,
            "cursor",
            has_read=False,
            changed=None,
            parts=frozenset({"breakdown"}),
        )
        for version in ("v1.2", "v1.1")
    ),
    *(RecordListing(f"partner-invites/{version}", _INVITED) for version in ("v2.0", "v1.0")),
    RecordListing(
        "partner-settlement-reports/v1.0",
        {
            **_same("partnerId"),
            "periodAfter": since(_time("periodStart")),
            "periodBefore": before(_time("periodEnd")),
        },
        "cursor",
        changed=None,
    ),
    *(RecordListing(f"sub-operators/{version}") for version in ("v2.0", "v1.0")),
    RecordListing("user-groups/v1.0", {**_same("partnerId"), "noPartner": _has_no_partner, **_CHANGED}),
    RecordListing("faqs/v2.0"),
    RecordListing(
        "terms-and-policies/v2.0",
        {**_same(documentId="document.id"), "validFrom": since(_time("validFrom"))},
        is_wrapped=False,
    ),
)

_ENERGY = (
    RecordListing(
        "circuits/v2.0",
        _CHANGED,
        "cursor",
        changed=None,
        parts=frozenset({"chargePointPriorities", "userPriorities", "socPriorities", "consumption", "unmanagedLoad"}),
    ),
    RecordListing("electricity-meters/v1.0", paging="cursor", changed=None),
    RecordListing("electricity-rates/v2.0", _same("utilityId", "type"), "cursor", changed=None),
    RecordListing("utilities/v1.0", paging="cursor"),
    RecordListing(
        "flexibility-assets/v1.0", {"updatedSince": since(lambda row: row.changed_at)}, "cursor", changed=None
    ),
    RecordListing("flexibility-activation-requests/v1.0", _same("assetId"), "cursor", changed=None),
)

_ROAMING = (
    RecordListing("roaming-operators/v2.0"),
    RecordListing("roaming-providers/v2.0", _same("platformId", "countryCode", "partyId")),
    RecordListing("roaming-connections/v2.0", paging="cursor"),
    RecordListing("roaming-tariffs/v2.0", changed=None),
)

LISTINGS: tuple[RecordListing, ...] = (*_CHARGING, *_HARDWARE, *_BILLING, *_PARTNERS, *_ENERGY, *_ROAMING)
