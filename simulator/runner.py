"""Lets the tenant's clock run: so many times as fast as the real one."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from simulator.delivery import Delivery
from simulator.fleet import Fleet

#: Real seconds between two looks at the clock.
TICK_SECONDS = 0.05

#: The most real seconds that are caught up with in one step. A machine that cannot keep up
#: lets the tenant's clock lag instead of living it in ever longer steps, between which
#: nothing is answered or delivered.
MAX_SECONDS_A_STEP = 0.25


class Runner:
    """Advances the fleet in step with real time, unless paused.

    Attributes:
        lag_seconds: real seconds that were not lived because the machine was too slow.
    """

    def __init__(self, fleet: Fleet, delivery: Delivery, *, speed: float) -> None:
        self._fleet = fleet
        self._delivery = delivery
        self.speed = speed
        self.is_paused = False
        self.lag_seconds = 0.0

    def pause(self) -> None:
        """Stop the tenant's life; its API goes on answering, and what was told is delivered.

        Held-back notifications are let go: their time would not come while the clock stands.
        """
        self.is_paused = True
        self._delivery.release_held()

    def resume(self) -> None:
        self.is_paused = False

    async def run(self) -> None:
        """Run until cancelled."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            passed, looked = now - looked, now
            if not self.is_paused:
                self.step(passed)

    def step(self, passed_seconds: float) -> None:
        """Live through so many real seconds."""
        lived = min(passed_seconds, MAX_SECONDS_A_STEP)
        self.lag_seconds += passed_seconds - lived
        told = self._fleet.advance(self._fleet.now + timedelta(seconds=lived * self.speed))
        self._delivery.post(told, self._fleet.now)
