"""Every kind of entity that we keep, and how it is read from AMPECO's API.

An entry here is enough to read, list and store a kind: the client reads and lists it, the
notifications in its read rules request its reads, and the storage keeps it. ``storage.schema.entities``
defines where: in a table of its own, or else in ``charging.resource``. ``docs/data-model.md`` shows
how to add a kind (AMPECO API, resources).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from ampeco.model import Model
from ampeco.notifications.catalogue import lookup
from ampeco.resources import charging as resources
from ampeco.resources import commercial
from ampeco.resources.commercial import Resource
from ampeco.values import BigInt, Word

M_co = TypeVar("M_co", bound=Model, covariant=True)

#: How a listing is paged. ``cursor``: by cursor only. ``empty cursor``: by number, unless the query
#: has a cursor, which is empty for the first page. ``page``: by number only.
Paging = Literal["cursor", "empty cursor", "page"]

#: When a notification requests a read. ``changed``: always. ``provisional``: unless a snapshot
#: follows by itself. ``unknown``: if nothing is stored of the entity. ``unusable``: only if the
#: notification itself cannot be applied.
Urgency = Literal["changed", "provisional", "unknown", "unusable"]


@dataclass(frozen=True, slots=True)
class ReadRule:
    """A notification type that names an entity of the kind.

    ``field`` is the field of its payload model that holds the id, with dots into sub-objects. For a
    kind with a ``reference_filter`` it holds the reference instead. ``storage.state.facts`` requests the
    reads of entities that a snapshot refers to, such as a session's EVSE.
    """

    notification: str
    field: str
    urgency: Urgency = "changed"


@dataclass(frozen=True, slots=True)
class Kind(Generic[M_co]):
    """A kind of entity: how it is read and listed, and which notifications request its read.

    Parameters:
        name: in the singular; the name of its table or, in ``charging.resource``, its ``kind``.
        model: parses one resource; its ``id`` is the key.
        path: of the listing, below ``/public-api/resources/``; the path of one entity adds ``/<id>``.
        older_paths: earlier versions of it, newest first, for tenants whose release lacks ``path``.
        parts: query parameters without which AMPECO leaves sub-objects out.
        paging: how the listing is paged.
        changed_filters: the listing's filters for what changed at a time or later. Several show different
            changes, and are listed one after the other. If there is none, only a full sync run finds changes.
        changed_margin: how much earlier than a change the time may be by which a filter shows it.
        has_roaming_filter: whether the listing can be limited to what does not belong to roaming partners.
        reference_filter: the listing's filter for the reference in its notifications, if they do
            not contain its id; a lookup then reads the entity by that listing.
        read_rules: the notification types that name it.
    """

    name: str
    model: type[M_co]
    path: str
    older_paths: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    paging: Paging = "cursor"
    changed_filters: tuple[str, ...] = ("last_updated_after",)
    changed_margin: timedelta = timedelta(0)
    has_roaming_filter: bool = False
    reference_filter: str | None = None
    read_rules: tuple[ReadRule, ...] = ()

    def path_of(self, entity_id: int) -> str:
        """Return the path of one entity, below ``/public-api/resources/``."""
        return f"{self.path}/{entity_id}"

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of all versions of the listing, newest first."""
        return self.path, *self.older_paths

    @property
    def listing_parameters(self) -> list[tuple[str, str]]:
        """The query of a listing, without its filters and its page size."""
        return [*self.parts, ("cursor", "")] if self.paging == "empty cursor" else [*self.parts]


SESSION = Kind(
    "session",
    resources.Session,
    "sessions/v1.0",
    parts=(("withAuthorization", "true"), ("withChargingPeriods", "true")),
    paging="empty cursor",
    read_rules=(
        ReadRule("session.start.stop.notification", "session_id", "provisional"),
        ReadRule("SessionStartStopNotification", "session_id", "provisional"),
        ReadRule("SessionMeterValuesNotification", "session_id", "unknown"),
        ReadRule("SessionUpdateNotification", "session.id", "unusable"),
    ),
)

CHARGE_POINT = Kind(
    "charge_point",
    resources.ChargePoint,
    "charge-points/v2.0",
    parts=(("include[]", "lastBootNotification"),),
    has_roaming_filter=True,
    read_rules=(
        ReadRule("chargePoint.changed", "charge_point_id"),
        ReadRule("ChargePointChangedNotification", "charge_point.id"),
        ReadRule("session.start.stop.notification", "charge_point_id", "unknown"),
        ReadRule("SessionStartStopNotification", "charge_point_id", "unknown"),
        ReadRule("HardwareStatusNotification", "charge_point_id", "unknown"),
        ReadRule("NetworkStatusNotification", "charge_point_id", "unknown"),
        ReadRule("BootNotification", "charge_point_id", "unknown"),
    ),
)

EVSE = Kind(
    "evse",
    resources.Evse,
    "evses/v2.1",
    parts=(("include[]", "connectors"),),
    has_roaming_filter=True,
    read_rules=(
        ReadRule("evse.changed", "evse_id"),
        ReadRule("ChargePointChangedNotification", "evses.id"),
        ReadRule("session.start.stop.notification", "evse_id", "unknown"),
        ReadRule("SessionStartStopNotification", "evse_id", "unknown"),
        ReadRule("HardwareStatusNotification", "evse_id", "unknown"),
    ),
)

LOCATION = Kind(
    "location",
    resources.Location,
    "locations/v2.0",
    read_rules=(ReadRule("LocationChangedNotification", "location.id"),),
)

AUTHORIZATION = Kind(
    "authorization",
    resources.Authorization,
    "authorizations/v2.1",
    paging="empty cursor",
    read_rules=(
        ReadRule("authorization.changed", "authorization_id"),
        ReadRule("AuthorizationNotification", "authorization_id"),
    ),
)

TRANSACTION = Kind(
    "transaction",
    commercial.Transaction,
    "transactions/v1.0",
    paging="empty cursor",
    read_rules=(
        ReadRule("transaction.changed", "transaction_id"),
        ReadRule("userBalance.changed", "transaction_id", "unknown"),
    ),
)

RESERVATION = Kind(
    "reservation",
    commercial.Reservation,
    "reservations/v1.0",
    paging="page",
    changed_filters=("reserved_from",),
    changed_margin=timedelta(days=1),  # a reservation lasts minutes or hours, and changes until it ends
    read_rules=(ReadRule("reservation.changed", "reservation_id"),),
)

CDR = Kind(
    "cdr",
    commercial.Cdr,
    "cdrs/v2.0",
    changed_filters=("sent_after", "received_after"),  # our own CDRs, then those of roaming partners
    reference_filter="roaming_id",
    read_rules=(ReadRule("cdr.received", "id"),),
)

TARIFF = Kind(
    "tariff",
    commercial.Tariff,
    "tariffs/v1.0",
    paging="empty cursor",
    changed_filters=(),
    read_rules=(ReadRule("TariffChangedNotification", "tariff.id"),),
)

#: The kinds that have no table of their own: they are kept as JSON in ``charging.resource``.
_PLAIN = (
    Kind(
        "user",
        Resource,
        "users/v1.1",
        older_paths=("users/v1.0",),
        paging="empty cursor",
        read_rules=(
            ReadRule("UserChangedNotification", "user.id"),
            ReadRule("userBalance.changed", "user_id"),
            ReadRule("user.subscription.changed", "user_id"),
            ReadRule("user.subscriptionChanged", "user_id"),
            ReadRule("user.paymentMethod.changed", "user_id", "unknown"),
            ReadRule("user.invoiceDetails.changed", "user_id", "unknown"),
        ),
    ),
    Kind(
        "partner",
        Resource,
        "partners/v2.0",
        paging="page",
        read_rules=(
            ReadRule("partner.changed", "partner_id"),
            ReadRule("settlementReport.created", "partner_id", "unknown"),
        ),
    ),
    Kind(
        "circuit",
        Resource,
        "circuits/v2.0",
        read_rules=(
            ReadRule("circuit.changed", "circuit_id"),
            ReadRule("CircuitConsumptionNotification", "circuit_id", "unknown"),
        ),
    ),
    Kind(
        "id_tag",
        Resource,
        "id-tags/v2.0",
        paging="empty cursor",
        read_rules=(ReadRule("idTag.changed", "id_tags_id"),),
    ),
    Kind(
        "parking_space",
        Resource,
        "parking-spaces/v1.0",
        parts=(("include[]", "evses"),),
        read_rules=(ReadRule("parkingSpace.occupancyStatus.changed", "parking_space_id"),),
    ),
    Kind(
        "installer_job",
        Resource,
        "installer-jobs/v1.0",
        paging="page",
        read_rules=(ReadRule("installerJob.changed", "id"),),
    ),
    Kind(
        "partner_invite",
        Resource,
        "partner-invites/v2.0",
        older_paths=("partner-invites/v1.0",),
        paging="page",
        read_rules=(ReadRule("partnerInvite.changed", "partner_invite_id"),),
    ),
    Kind(
        "settlement_report",
        Resource,
        "partner-settlement-reports/v1.0",
        changed_filters=("period_after",),
        changed_margin=timedelta(days=62),  # a report comes after the end of its period, a month
        read_rules=(ReadRule("settlementReport.created", "id"),),
    ),
    Kind(
        "roaming_platform",
        Resource,
        "roaming-connections/v2.0",  # the present name of roaming-platforms/v1.0
        changed_filters=(),
        read_rules=(ReadRule("roamingPlatform.changed", "roaming_platform_id"),),
    ),
    Kind(
        "sub_operator",
        Resource,
        "sub-operators/v2.0",
        older_paths=("sub-operators/v1.0",),
        paging="page",
        changed_filters=(),
        read_rules=(ReadRule("SubOperatorChangedNotification", "sub_operator.id"),),
    ),
    Kind(
        "subscription_plan",
        Resource,
        "subscription-plans/v2.0",
        paging="page",
        read_rules=(
            ReadRule("user.subscription.changed", "plan_id", "unknown"),
            ReadRule("user.subscriptionChanged", "plan_id", "unknown"),
        ),
    ),
)

_ALL: tuple[Kind[Any], ...] = (
    SESSION,
    CHARGE_POINT,
    EVSE,
    LOCATION,
    AUTHORIZATION,
    TRANSACTION,
    RESERVATION,
    CDR,
    TARIFF,
    *_PLAIN,
)

#: Every kind by its name.
KINDS: Mapping[str, Kind[Any]] = MappingProxyType({kind.name: kind for kind in _ALL})


def _read_rules_by_notification() -> Mapping[str, tuple[tuple[Kind[Any], ReadRule], ...]]:
    by_notification: dict[str, list[tuple[Kind[Any], ReadRule]]] = defaultdict(list)
    for kind in _ALL:
        for rule in kind.read_rules:
            by_notification[rule.notification].append((kind, rule))
    return {name: tuple(read_rules) for name, read_rules in by_notification.items()}


#: The kinds that a notification type names, each with its rule, by the type's name.
READ_RULES = _read_rules_by_notification()


def named_ids(payload: Model, rule: ReadRule) -> list[Any]:
    """Return the ids in the field of a payload that ``rule`` names; none if the payload names no entity."""
    values: list[Any] = [payload]
    for name in rule.field.split("."):
        nested = [getattr(value, name) for value in values if value is not None]
        values = [item for value in nested for item in (value if isinstance(value, tuple) else (value,))]
    return [value for value in values if value is not None]


_ID: TypeAdapter[Any] = TypeAdapter(BigInt)
_REFERENCE: TypeAdapter[Any] = TypeAdapter(Word)


def readable_ids(body: dict[str, Any]) -> list[tuple[Kind[Any], ReadRule, Any]]:
    """Return the ids in a notification that its model cannot parse, each with its kind and rule.

    Parameters:
        body: the notification's JSON.
    """
    name = body.get("notification")
    known = lookup(name) if isinstance(name, str) else None
    if known is None or known.handler is None:
        return []
    body = known.handler.in_present_words(body)
    return [
        (kind, rule, entity_id)
        for kind, rule in READ_RULES.get(known.name, ())
        for entity_id in _read_ids(body, rule.field, _ID if kind.reference_filter is None else _REFERENCE)
    ]


def _read_ids(body: dict[str, Any], field: str, of: TypeAdapter[Any]) -> list[Any]:
    values: list[Any] = [body]
    for name in field.split("."):
        nested = [value.get(to_camel(name), value.get(name)) for value in values if isinstance(value, dict)]
        values = [item for value in nested for item in (value if isinstance(value, list) else [value])]
    ids = []
    for value in values:
        try:
            ids.append(of.validate_python(value))
        except ValidationError:
            continue  # null, or no id
    return ids
