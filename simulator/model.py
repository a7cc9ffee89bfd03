"""The tenant's entities, as the fleet keeps them. Energies in Wh, powers in W."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal


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
    id: int
    name: str
    street: str
    city: str
    latitude: float
    longitude: float
    changed_at: datetime


@dataclass(slots=True)
class ChargePoint:
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

    @property
    def is_online(self) -> bool:
        return self.network[-1].status == "available"


@dataclass(slots=True)
class Evse:
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
    session_id: int | None = None
    is_deleted: bool = False

    @property
    def status(self) -> str:
        return self.hardware[-1].status


@dataclass(slots=True)
class Sample:
    """A point of a session's consumption."""

    at: datetime
    energy_wh: int
    power_w: int


@dataclass(slots=True)
class Session:
    id: int
    evse_id: int
    charge_point_id: int
    connector_id: int
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
    price_per_kwh: Decimal = Decimal("0.45")

    @property
    def amount_with_tax(self) -> Decimal:
        return (self.price_per_kwh * self.energy_wh / 1000).quantize(Decimal("0.01"))

    @property
    def amount_without_tax(self) -> Decimal:
        return (self.amount_with_tax / Decimal("1.2")).quantize(Decimal("0.01"))


@dataclass(slots=True)
class Authorization:
    id: int
    user_id: int
    id_tag: str
    charge_point_id: int
    evse_id: int
    created_at: datetime
    changed_at: datetime
    session_id: int | None = None


@dataclass(slots=True)
class Transaction:
    id: int
    session_id: int
    user_id: int
    amount: Decimal
    created_at: datetime
    changed_at: datetime
    status: str = "pending"
    finalized_at: datetime | None = None


@dataclass(slots=True)
class Tenant:
    """Everything that the tenant's API shows, by id."""

    locations: dict[int, Location] = field(default_factory=dict)
    charge_points: dict[int, ChargePoint] = field(default_factory=dict)
    evses: dict[int, Evse] = field(default_factory=dict)
    sessions: dict[int, Session] = field(default_factory=dict)
    authorizations: dict[int, Authorization] = field(default_factory=dict)
    transactions: dict[int, Transaction] = field(default_factory=dict)

    def evses_of(self, charge_point_id: int) -> list[Evse]:
        return [evse for evse in self.evses.values() if evse.charge_point_id == charge_point_id and not evse.is_deleted]
