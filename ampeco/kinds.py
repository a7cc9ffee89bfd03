"""Every kind of entity that AMPECO's API shows and we keep: the one place that says how each is read.

An entry makes a kind readable, listable and requestable everywhere: the client reads and lists by
it, a notification that it names asks for its read, and what is read is kept. Where it is kept is
storage's to say: a table of its own where ``storage.mirrors`` has one of that name, else
``charging.resource``. ``docs/data-model.md`` shows how to add a kind (AMPECO API, resources).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from ampeco import commercial, resources
from ampeco.catalogue import lookup
from ampeco.commercial import Resource
from ampeco.model import Model
from ampeco.values import BigInt, Word

M_co = TypeVar("M_co", bound=Model, covariant=True)

#: How a listing goes on from page to page. ``cursor``: by cursor alone. ``empty cursor``: by
#: number, unless a cursor is given, an empty one to begin with. ``page``: by number alone.
Paging = Literal["cursor", "empty cursor", "page"]

#: How strongly a notification asks for a read. ``changed``: read it. ``provisional``: read it
#: unless a whole snapshot follows by itself. ``unknown``: read it if nothing is known of it.
#: ``unusable``: read it only where the notification itself cannot be used.
Urgency = Literal["changed", "provisional", "unknown", "unusable"]


@dataclass(frozen=True, slots=True)
class ReadRule:
    """A notification that names an entity of the kind.

    ``field`` is where its payload model holds the id, with dots into sub-objects; of a kind with a
    ``reference_filter``, it holds the reference instead. What a whole
    snapshot refers to, as a session to its EVSE, is followed by ``storage.facts``, for
    notifications and reads alike.
    """

    notification: str
    field: str
    urgency: Urgency = "changed"


@dataclass(frozen=True, slots=True)
class Kind(Generic[M_co]):
    """A kind of entity: how it is read and listed, and which notifications ask for its read.

    Parameters:
        name: in the singular; the name of its table or, in ``charging.resource``, its ``kind``.
        model: reads one resource; its ``id`` is the key.
        path: of the listing, below ``/public-api/resources/``; one entity's adds ``/<id>``.
        parts: what makes a resource whole: without these parameters AMPECO leaves sub-objects out.
        paging: how the listing pages.
        changed_since: the listing's filter for what changed at a time or later; None where there
            is none, so that only a sync run through the whole listing finds changes.
        reference_filter: the listing's filter by which its notifications name it, where they do
            not tell its id; it is then read by that listing.
        read_rules: the notifications that name it.
    """

    name: str
    model: type[M_co]
    path: str
    parts: tuple[tuple[str, str], ...] = ()
    paging: Paging = "cursor"
    changed_since: str | None = "last_updated_after"
    reference_filter: str | None = None
    read_rules: tuple[ReadRule, ...] = ()

    def path_of(self, entity_id: int) -> str:
        """The path of one entity, below ``/public-api/resources/``."""
        return f"{self.path}/{entity_id}"

    @property
    def listing_parameters(self) -> list[tuple[str, str]]:
        """What a listing is asked with, beside its filters and the size of its pages."""
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
    changed_since=None,
    read_rules=(ReadRule("reservation.changed", "reservation_id"),),
)

CDR = Kind(
    "cdr",
    commercial.Cdr,
    "cdrs/v2.0",
    changed_since=None,  # its filters by time see only those received, or only those sent
    reference_filter="roaming_id",
    read_rules=(ReadRule("cdr.received", "id"),),
)

TARIFF = Kind(
    "tariff",
    commercial.Tariff,
    "tariffs/v1.0",
    paging="empty cursor",
    changed_since=None,
    read_rules=(ReadRule("TariffChangedNotification", "tariff.id"),),
)

#: These need no more than their entry: they are kept as JSON in ``charging.resource``.
_PLAIN = (
    Kind(
        "user",
        Resource,
        "users/v1.0",
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
        "partner-invites/v1.0",
        paging="page",
        read_rules=(ReadRule("partnerInvite.changed", "partner_invite_id"),),
    ),
    Kind(
        "settlement_report",
        Resource,
        "partner-settlement-reports/v1.0",
        changed_since=None,
        read_rules=(ReadRule("settlementReport.created", "id"),),
    ),
    Kind(
        "roaming_platform",
        Resource,
        "roaming-connections/v2.0",  # the present name of roaming-platforms/v1.0
        changed_since=None,
        read_rules=(ReadRule("roamingPlatform.changed", "roaming_platform_id"),),
    ),
    Kind(
        "sub_operator",
        Resource,
        "sub-operators/v1.0",
        paging="page",
        changed_since=None,
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
    found: dict[str, list[tuple[Kind[Any], ReadRule]]] = defaultdict(list)
    for kind in _ALL:
        for rule in kind.read_rules:
            found[rule.notification].append((kind, rule))
    return {name: tuple(read_rules) for name, read_rules in found.items()}


#: The kinds that a notification speaks of, by its name.
READ_RULES = _read_rules_by_notification()


def named_ids(payload: Model, rule: ReadRule) -> list[Any]:
    """The ids that a payload holds where ``mark`` says; none where it names no entity."""
    found: list[Any] = [payload]
    for name in rule.field.split("."):
        held = [getattr(one, name) for one in found if one is not None]
        found = [inner for one in held for inner in (one if isinstance(one, tuple) else (one,))]
    return [one for one in found if one is not None]


_ID: TypeAdapter[Any] = TypeAdapter(BigInt)
_REFERENCE: TypeAdapter[Any] = TypeAdapter(Word)


def readable_ids(body: dict[str, Any]) -> list[tuple[Kind[Any], ReadRule, Any]]:
    """Return the ids that can be read in a notification whose model cannot read it, each with what it names.

    Parameters:
        body: of the notification.
    """
    name = body.get("notification")
    known = lookup(name) if isinstance(name, str) else None
    if known is None or known.handler is None:
        return []
    body = known.handler.in_present_words(body)
    return [
        (kind, rule, one)
        for kind, rule in READ_RULES.get(known.name, ())
        for one in _read_ids(body, rule.field, _ID if kind.reference_filter is None else _REFERENCE)
    ]


def _read_ids(body: dict[str, Any], field: str, of: TypeAdapter[Any]) -> list[Any]:
    held: list[Any] = [body]
    for name in field.split("."):
        inner = [one.get(to_camel(name), one.get(name)) for one in held if isinstance(one, dict)]
        held = [one for each in inner for one in (each if isinstance(each, list) else [each])]
    found = []
    for one in held:
        try:
            found.append(of.validate_python(one))
        except ValidationError:
            continue  # null, or no id
    return found
