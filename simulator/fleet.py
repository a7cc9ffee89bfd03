"""The tenant's life: a pure engine on a simulated clock.

The same settings give the same notifications, byte for byte, in however many steps the
clock advances: whatever happens depends on the seed and the simulated time alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import orjson

from simulator.build import build
from simulator.charging import Charging
from simulator.commerce import Commerce
from simulator.edits import Edits
from simulator.model import Evse
from simulator.outages import Outages
from simulator.removals import Removals
from simulator.settings import WARM_UP, TenantSettings
from simulator.timeline import Timeline
from simulator.vehicles import arrival_delay, arrive
from simulator.world import World


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
        rng = random.Random(settings.seed)  # noqa: S311 - a life, not a secret
        self._timeline = Timeline(settings.start - WARM_UP)
        self.tenant = build(rng, settings, self.now)
        self._told: list[Notification] = []
        self._is_heard = False
        self._world = World(self.tenant, rng, self._timeline, self._tell, lambda: self._is_heard)
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
        self.advance(settings.start)  # what is told before anybody can listen is lost
        self._is_heard = True

    @property
    def now(self) -> datetime:
        return self._timeline.now

    def advance(self, to: datetime) -> list[Notification]:
        """Let time pass until ``to``; returns what was told, in order."""
        self._timeline.advance(to)
        told, self._told = self._told, []
        return told

    def _tell(self, body: dict[str, Any]) -> None:
        if not self._is_heard:  # thousands of EVSEs tell half a million things in six hours
            return
        # Serialised at once: the body is what holds now, and a copy for a subscriber costs nothing.
        self._told.append(Notification(body["notification"], self.now, orjson.dumps(body)))

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
        else:  # it drives on to another
            self._expect_vehicle(evse)
