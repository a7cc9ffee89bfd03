"""Lets the tenant's clock run: so many times as fast as the real one."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from simulator.delivery import Delivery
from simulator.fleet import Fleet

#: Real seconds between two looks at the clock.
TICK_SECONDS = 0.05


class Runner:
    """Advances the fleet in step with real time, unless paused."""

    def __init__(self, fleet: Fleet, delivery: Delivery, *, speed: float) -> None:
        self._fleet = fleet
        self._delivery = delivery
        self._speed = speed
        self.is_paused = False

    def pause(self) -> None:
        """Stop the tenant's life; its API goes on answering, and what was told is delivered."""
        self.is_paused = True

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
                told = self._fleet.advance(self._fleet.now + timedelta(seconds=passed * self._speed))
                self._delivery.post(told, self._fleet.now)
