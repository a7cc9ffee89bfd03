"""The tenant's entities as the fleet keeps them; energies are in Wh, powers in W."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

#: The charging zones of a location.
ZONES = 2


def zone_ids(location_id: int) -> list[int]:
    """Return the ids of a location's charging zones."""
    return [location_id * 10 + number for number in range(1, ZONES + 1)]


@dataclass(slots=True)
class StatusChange:
    """An entry of a status log."""

    at: datetime
    status: str
    error_code: str = "NoError"
    info: str | None = None
    vendor_error_code: str | None = None


@dataclass(slots=True)
class Location:
    """A location."""

    id: int
    name: str
    street: str
    city: str
    latitude: float
    longitude: float
    changed_at: datetime
    is_deleted: bool = False


@dataclass(slots=True)
class ChargePoint:
    """A charge point with its status logs."""

    id: int
    name: str
    location_id: int
    vendor: str
    model: str
    serial_number: str
    firmware: str
    created_at: datetime
    changed_at: datetime
    booted_at: datetime
    network: list[StatusChange] = field(default_factory=list)
    hardware: list[StatusChange] = field(default_factory=list)
    roaming_operator_id: int | None = None
    partner_id: int | None = None
    is_deleted: bool = False

    @property
    def charging_zone_id(self) -> int | None:
        """The zone of its location in which it stands; None for one of a roaming partner."""
        return None if self.roaming_operator_id is not None else zone_ids(self.location_id)[self.id % ZONES]

    @property
    def is_online(self) -> bool:
        """Whether its latest network status is ``available``."""
        return self.network[-1].status == "available"


@dataclass(slots=True)
class Evse:
    """An EVSE with its connector and its status log."""

    id: int
    charge_point_id: int
    number: int
    connector_id: int
    current_type: str
    max_power_w: int
    label: str
    created_at: datetime
    changed_at: datetime
    meter_wh: int
    hardware: list[StatusChange] = field(default_factory=list)
    roaming_operator_id: int | None = None
    session_id: int | None = None
    is_deleted: bool = False

    @property
    def status(self) -> str:
        """The latest hardware status."""
        return self.hardware[-1].status


@dataclass(slots=True)
class Sample:
    """A point of a session's consumption."""

    at: datetime
    energy_wh: int
    power_w: int


@dataclass(slots=True)
class Session:
    """A charging session."""

    id: int
    evse_id: int
    charge_point_id: int
    connector_id: int
    evse_label: str
    user_id: int
    authorization_id: int
    started_at: datetime
    meter_start_wh: int
    soc_percent: float
    changed_at: datetime
    status: str = "active"
    stopped_at: datetime | None = None
    reason: str | None = None
    energy_wh: int = 0
    power_w: int = 0
    peak_w: int = 0
    billing_status: str | None = None
    payment_status: str | None = None
    payment_changed_at: datetime | None = None
    idle_since: datetime | None = None
    samples: list[Sample] = field(default_factory=list)
    # Over all samples, including those that `thin_samples` removed.
    samples_taken: int = 0
    samples_power_w: int = 0
    price_per_kwh: Decimal = Decimal("0.45")
    receipt_id: int | None = None
    is_deleted: bool = False

    @property
    def id_tag(self) -> str:
        """The id tag, as AMPECO writes it for a session that was started remotely."""
        return f"*{self.id:07d}"

    @property
    def average_w(self) -> int:
        """The average power of all samples, in W."""
        return round(self.samples_power_w / self.samples_taken) if self.samples_taken else 0

    def add_sample(self, at: datetime) -> Sample:
        """Add the present energy and power to the session's consumption, and return the sample."""
        sample = Sample(at, self.energy_wh, self.power_w)
        self.samples.append(sample)
        self.samples_taken += 1
        self.samples_power_w += sample.power_w
        return sample

    def thin_samples(self, limit: int) -> None:
        """Keep at most ``limit`` samples, evenly spaced, including the last one."""
        if len(self.samples) > limit:
            last = len(self.samples) - 1
            self.samples = [self.samples[round(number * last / (limit - 1))] for number in range(limit)]

    @property
    def amount_with_tax(self) -> Decimal:
        """The price of the session with tax."""
        return (self.price_per_kwh * self.energy_wh / 1000).quantize(Decimal("0.01"))

    @property
    def amount_without_tax(self) -> Decimal:
        """The price of the session without tax."""
        return (self.amount_with_tax / Decimal("1.2")).quantize(Decimal("0.01"))


@dataclass(slots=True)
class Authorization:
    """A decision on whether a user may charge."""

    id: int
    user_id: int
    id_tag: str
    charge_point_id: int
    evse_id: int
    created_at: datetime
    changed_at: datetime
    session_id: int | None = None
    is_accepted: bool = True
    is_deleted: bool = False


@dataclass(slots=True)
class Transaction:
    """The payment of a session."""

    id: int
    session_id: int
    user_id: int
    amount: Decimal
    created_at: datetime
    changed_at: datetime
    status: str = "pending"
    finalized_at: datetime | None = None
    receipt_id: int | None = None
    invoice_id: int | None = None
    is_deleted: bool = False


@dataclass(slots=True)
class Reservation:
    """An EVSE that is kept free for a user for some minutes."""

    id: int
    charge_point_id: int
    evse_id: int
    user_id: int
    reserved_at: datetime
    changed_at: datetime
    minutes: int
    status: str = "active"
    canceled_at: datetime | None = None
    is_deleted: bool = False


@dataclass(slots=True)
class Tariff:
    """A tariff with its price of a kWh."""

    id: int
    name: str
    price_per_kwh: float
    changed_at: datetime
    is_deleted: bool = False


@dataclass(slots=True)
class User:
    """A user account."""

    id: int
    first_name: str
    created_at: datetime
    changed_at: datetime
    wants_news: bool = False
    is_deleted: bool = False

    @property
    def email(self) -> str:
        """The e-mail address."""
        return f"{self.first_name.lower()}.{self.id}@example.com"


@dataclass(slots=True)
class IdTag:
    """An id tag of a user."""

    id: int
    uid: str
    user_id: int
    changed_at: datetime
    is_deleted: bool = False


@dataclass(slots=True)
class Partner:
    """A partner company."""

    id: int
    name: str
    changed_at: datetime
    is_deleted: bool = False


@dataclass(slots=True)
class Record:
    """A resource that is kept as the API shows it, without its id and the time of its last change."""

    id: int
    changed_at: datetime
    fields: dict[str, Any]
    is_deleted: bool = False


@dataclass(slots=True)
class Tenant:
    """All entities that the tenant's API shows, by id."""

    locations: dict[int, Location] = field(default_factory=dict)
    charge_points: dict[int, ChargePoint] = field(default_factory=dict)
    evses: dict[int, Evse] = field(default_factory=dict)
    sessions: dict[int, Session] = field(default_factory=dict)
    authorizations: dict[int, Authorization] = field(default_factory=dict)
    transactions: dict[int, Transaction] = field(default_factory=dict)
    reservations: dict[int, Reservation] = field(default_factory=dict)
    tariffs: dict[int, Tariff] = field(default_factory=dict)
    users: dict[int, User] = field(default_factory=dict)
    id_tags: dict[int, IdTag] = field(default_factory=dict)
    partners: dict[int, Partner] = field(default_factory=dict)
    # By the resource's name in the API's paths.
    records: dict[str, dict[int, Record]] = field(default_factory=dict)
    # The roaming partners' own, which are listed and never change.
    foreign_charge_points: dict[int, ChargePoint] = field(default_factory=dict)
    foreign_evses: dict[int, Evse] = field(default_factory=dict)
    # Includes deleted EVSEs, so that no number is used twice.
    evse_ids: dict[int, list[int]] = field(default_factory=dict)

    def evses_of(self, charge_point_id: int) -> list[Evse]:
        """Return the EVSEs of a charge point that are not deleted."""
        evses = (self.evses[evse_id] for evse_id in self.evse_ids[charge_point_id])
        return [evse for evse in evses if not evse.is_deleted]

    def live_records(self, kind: str) -> list[Record]:
        """Return the records of a kind that are not deleted."""
        return [record for record in self.records[kind].values() if not record.is_deleted]

    def live_charge_points(self) -> list[ChargePoint]:
        """Return the charge points that are not deleted."""
        return [charge_point for charge_point in self.charge_points.values() if not charge_point.is_deleted]

    def live_evses(self) -> list[Evse]:
        """Return the EVSEs that are not deleted."""
        return [evse for evse in self.evses.values() if not evse.is_deleted]
