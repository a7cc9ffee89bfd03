"""The fleet: a pure engine on a simulated clock that generates the tenant's history.

The same settings give the same notifications, byte for byte, whatever the steps of the clock:
everything depends only on the seed and the simulated time.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import orjson

from simulator.fleet.accounts import Accounts
from simulator.fleet.build import build
from simulator.fleet.charging import Charging
from simulator.fleet.commerce import Commerce
from simulator.fleet.downtime import Downtime
from simulator.fleet.edits import Edits
from simulator.fleet.model import Evse
from simulator.fleet.outages import Outages
from simulator.fleet.records.staff import Staff
from simulator.fleet.removals import Removals
from simulator.fleet.roaming import Cdr, Roaming
from simulator.fleet.security_events import SecurityEvents
from simulator.fleet.timeline import Timeline
from simulator.fleet.vehicles import arrival_delay, arrive
from simulator.fleet.world import World
from simulator.settings import WARM_UP, TenantSettings


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification of the fleet; ``body`` is signed and sent."""

    name: str
    at: datetime
    body: bytes


class Fleet:
    """A tenant with a simulated clock.

    ``tenant`` contains the entities that the API shows. :meth:`advance` advances the clock and
    returns the notifications of that time.
    """

    def __init__(self, settings: TenantSettings) -> None:
        self.settings = settings
        rng = random.Random(settings.seed)  # noqa: S311 - a simulation, not a secret
        self._timeline = Timeline(settings.start - WARM_UP)
        self.tenant = build(rng, settings, self.now)
        self._notifications: list[Notification] = []
        self._is_sending = False
        self._world = World(self.tenant, rng, self._timeline, self._notify, lambda: self._is_sending)
        self._charging = Charging(self._world)
        self._outages = Outages(self._world, self._charging)
        self._edits = Edits(self._world, when_sited=self._outages.expect_any, when_built=self._expect_life)
        for evse in self.tenant.evses.values():
            self._expect_life(evse)
        for charge_point in self.tenant.charge_points.values():
            self._outages.expect_any(charge_point)
        self._edits.expect()
        Commerce(self._world, settings.seed).expect()
        Removals(self._world, settings.seed).expect()
        Staff(self._world, settings.seed).expect()
        Downtime(self._world, settings.seed).expect()
        Accounts(self._world, settings.seed).expect()
        SecurityEvents(self._world)
        roaming = Roaming(self._world, settings.seed, cdrs_a_day=settings.cdrs_a_day, unlisted=settings.unlisted_cdrs)
        roaming.expect()
        #: The CDRs that the API shows, by id.
        self.cdrs: dict[int, Cdr] = roaming.cdrs
        self.advance(settings.start)  # the notifications of the warm-up are not sent
        self._is_sending = True

    @property
    def now(self) -> datetime:
        """The present time of the simulated clock."""
        return self._timeline.now

    def advance(self, to: datetime) -> list[Notification]:
        """Advance the clock to ``to``, and return the notifications of that time in order."""
        self._timeline.advance(to)
        notifications, self._notifications = self._notifications, []
        return notifications

    def _notify(self, body: dict[str, Any]) -> None:
        for follow in self._world.followers.get(body["notification"], ()):
            follow(body)
        if not self._is_sending:  # in the six hours of the warm-up, thousands of EVSEs send half a million
            return
        # Serialised at once, because the entities change later; all subscriptions share the bytes.
        self._notifications.append(Notification(body["notification"], self.now, orjson.dumps(body)))

    def _expect_life(self, evse: Evse) -> None:
        self._expect_vehicle(evse)
        self._outages.expect_fault(evse)

    def _expect_vehicle(self, evse: Evse) -> None:
        delay = arrival_delay(self._world.rng, self.now, self.settings.sessions_a_day)
        self._timeline.after(delay, partial(self._vehicle_comes, evse))

    def _vehicle_comes(self, evse: Evse) -> None:
        if evse.is_deleted:
            return
        if evse.status == "available" and self.tenant.charge_points[evse.charge_point_id].is_online:
            vehicle = arrive(self._world.rng, evse.current_type)
            self._charging.plug_in(evse, vehicle, when_gone=partial(self._expect_vehicle, evse))
        else:  # it drives on to another EVSE
            self._expect_vehicle(evse)
