"""The tenant's life: a pure engine on a simulated clock.

The same settings give the same notifications, byte for byte, in however many steps the
clock advances: whatever happens depends on the seed and the simulated time alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson

from simulator import payloads
from simulator.build import FIRST_EVSE, add_evse, build
from simulator.charging import Charging
from simulator.model import ChargePoint, Evse, StatusChange
from simulator.resources import instant
from simulator.settings import WARM_UP, TenantSettings
from simulator.timeline import Timeline
from simulator.vehicles import arrival_delay, arrive

#: How often each thing happens, as the mean time between two.
OFFLINE_EVERY = timedelta(days=3)  # a charge point
FAULT_EVERY = timedelta(days=6)  # an EVSE
EDIT_EVERY = timedelta(hours=2)  # the whole tenant: somebody renames something
REBUILD_EVERY = timedelta(hours=18)  # the whole tenant: an EVSE is removed, or added

_FAULTS = (
    ("GroundFailure", "RCD trip", "E-217"),
    ("ConnectorLockFailure", None, "E-031"),
    ("OverCurrentFailure", "phase L2", "E-112"),
    ("HighTemperature", None, "E-090"),
)


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification as the tenant tells it; ``body`` is what is signed and sent."""

    name: str
    at: datetime
    body: bytes


class Fleet:
    """A tenant that lives.

    ``tenant`` holds what the API shows; :meth:`advance` lets time pass and returns what
    was told meanwhile.
    """

    def __init__(self, settings: TenantSettings) -> None:
        self.settings = settings
        self._rng = random.Random(settings.seed)  # noqa: S311 - a life, not a secret
        began = settings.start - WARM_UP
        self._timeline = Timeline(began)
        self.tenant = build(self._rng, settings, began)
        self._told: list[Notification] = []
        self.charging = Charging(self.tenant, self._rng, self._timeline, self.tell)
        self._next_evse_id = FIRST_EVSE + settings.evses
        for evse in self.tenant.evses.values():
            self._expect_vehicle(evse)
            self._expect(FAULT_EVERY, partial(self._fault, evse))
        for charge_point in self.tenant.charge_points.values():
            self._expect(OFFLINE_EVERY, partial(self._go_offline, charge_point))
        self._expect(EDIT_EVERY, self._edit)
        self._expect(REBUILD_EVERY, self._rebuild)
        self.advance(settings.start)  # what was told before anybody could listen is lost

    @property
    def now(self) -> datetime:
        return self._timeline.now

    def advance(self, to: datetime) -> list[Notification]:
        """Let time pass until ``to``; returns what was told, in order."""
        self._timeline.advance(to)
        told, self._told = self._told, []
        return told

    def tell(self, body: dict[str, Any]) -> None:
        """Tell subscribers something; its name is in the body."""
        self._told.append(Notification(body["notification"], self.now, orjson.dumps(body)))

    def _second(self) -> datetime:
        return self.now.replace(microsecond=0)

    def _expect(self, mean: timedelta, action: Callable[[], None]) -> None:
        """Let something happen once, at a time drawn around ``mean`` from now."""
        self._timeline.after(timedelta(seconds=self._rng.expovariate(1 / mean.total_seconds())), action)

    def _between(self, low: float, high: float) -> timedelta:
        return timedelta(seconds=self._rng.uniform(low, high))

    # Vehicles.

    def _expect_vehicle(self, evse: Evse) -> None:
        delay = arrival_delay(self._rng, self.now, self.settings.sessions_a_day)
        self._timeline.after(delay, partial(self._vehicle_comes, evse))

    def _vehicle_comes(self, evse: Evse) -> None:
        if evse.is_deleted:
            return
        if evse.status == "available" and self.tenant.charge_points[evse.charge_point_id].is_online:
            vehicle = arrive(self._rng, evse.current_type)
            self.charging.plug_in(evse, vehicle, when_gone=partial(self._expect_vehicle, evse))
        else:  # it drives on to another
            self._expect_vehicle(evse)

    # Charge points go offline and return.

    def _go_offline(self, charge_point: ChargePoint) -> None:
        self._set_network(charge_point, "temporarily unavailable")
        self._timeline.after(self._between(120, 2_400), partial(self._return, charge_point))

    def _return(self, charge_point: ChargePoint) -> None:
        self._set_network(charge_point, "available")
        if self._rng.random() < 0.5:
            charge_point.booted_at = self._second()
            self.tell(payloads.boot(charge_point))
            self.tell(payloads.security_event(charge_point))
        self._expect(OFFLINE_EVERY, partial(self._go_offline, charge_point))

    def _set_network(self, charge_point: ChargePoint, status: str) -> None:
        change = StatusChange(self._second(), status)
        charge_point.network.append(change)
        self.tell(payloads.network_status(charge_point.id, change))

    # EVSEs fault and recover.

    def _fault(self, evse: Evse) -> None:
        if evse.is_deleted:
            return
        online = self.tenant.charge_points[evse.charge_point_id].is_online
        if not online or evse.status in ("preparing", "finishing"):
            self._timeline.after(self._between(600, 3_600), partial(self._fault, evse))
            return
        self.charging.interrupt(evse)
        error_code, info, vendor_error_code = self._rng.choice(_FAULTS)
        self.charging.set_hardware(evse, "faulted", error_code, info, vendor_error_code)
        self._timeline.after(self._between(300, 7_200), partial(self._recover, evse))

    def _recover(self, evse: Evse) -> None:
        if not evse.is_deleted:
            self.charging.set_hardware(evse, "available")
            self._expect(FAULT_EVERY, partial(self._fault, evse))

    # People edit master data.

    def _edit(self) -> None:
        {0: self._rename_charge_point, 1: self._relabel_evse, 2: self._edit_location}[self._rng.randrange(3)]()
        self._expect(EDIT_EVERY, self._edit)

    def _rename_charge_point(self) -> None:
        charge_point = self._rng.choice(list(self.tenant.charge_points.values()))
        charge_point.name = f"{charge_point.name.split(' (')[0]} ({self._rng.choice('ABCDEFGH')})"
        charge_point.changed_at = self._second()
        self._charge_point_changed(charge_point)

    def _charge_point_changed(self, charge_point: ChargePoint) -> None:
        at = instant(charge_point.changed_at)
        self.tell(payloads.changed("chargePoint.changed", "chargePointId", charge_point.id, "updated", at))
        self.tell(payloads.charge_point_changed(charge_point, self.tenant.evses_of(charge_point.id)))

    def _relabel_evse(self) -> None:
        evse = self._rng.choice([evse for evse in self.tenant.evses.values() if not evse.is_deleted])
        evse.label = f"EV-{evse.charge_point_id}-{evse.number}{self._rng.choice('abcdefgh')}"
        evse.changed_at = self._second()
        self.tell(payloads.changed("evse.changed", "evseId", evse.id, "updated", instant(evse.changed_at)))

    def _edit_location(self) -> None:
        location = self._rng.choice(list(self.tenant.locations.values()))
        location.street = f"{self._rng.randrange(1, 200)} {location.street.split(' ', 1)[1]}"
        location.changed_at = self._second()
        stands = [one.id for one in self.tenant.charge_points.values() if one.location_id == location.id]
        self.tell(payloads.location_changed(location, stands))

    def _rebuild(self) -> None:
        """An EVSE is taken down, or one is put up in its stead."""
        free = [
            evse
            for evse in self.tenant.evses.values()
            if not evse.is_deleted and evse.status == "available" and evse.session_id is None
        ]
        gone = sum(evse.is_deleted for evse in self.tenant.evses.values())
        if gone == 0 and len(free) > 1:
            evse = self._rng.choice(free)
            evse.is_deleted = True
            evse.changed_at = self._second()
            action = "deleted"
        else:
            charge_point = self._rng.choice(list(self.tenant.charge_points.values()))
            evse = add_evse(self._rng, self.tenant, charge_point.id, self._next_evse_id, self._second(), self.now)
            self._next_evse_id += 1
            self._expect_vehicle(evse)
            self._expect(FAULT_EVERY, partial(self._fault, evse))
            action = "created"
        self.tell(payloads.changed("evse.changed", "evseId", evse.id, action, instant(self._second())))
        self._expect(REBUILD_EVERY, self._rebuild)
