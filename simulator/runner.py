"""Advance the tenant's clock at a multiple of real time."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from simulator.delivery.delivery import Delivery
from simulator.fleet.fleet import Fleet

#: Real seconds between two steps.
TICK_SECONDS = 0.05

#: Real seconds of one step at most. If a machine cannot keep up, the tenant's clock lags. Otherwise
#: the steps would grow, and nothing is answered or delivered during a step.
MAX_SECONDS_A_STEP = 0.25


class Runner:
    """The loop that advances the fleet with real time, unless it is paused.

    Attributes:
        lag_seconds: real seconds that were skipped because the machine was too slow.
    """

    def __init__(self, fleet: Fleet, delivery: Delivery, *, speed: float) -> None:
        self._fleet = fleet
        self._delivery = delivery
        self.speed = speed
        self.is_paused = False
        self.lag_seconds = 0.0

    def pause(self) -> None:
        """Stop the tenant's clock; its API still answers, and queued deliveries are still made.

        Delayed notifications are sent at once, because they would not become due without the clock.
        """
        self.is_paused = True
        self._delivery.release_held()

    def resume(self) -> None:
        """Let the tenant's clock run again."""
        self.is_paused = False

    async def run(self) -> None:
        """Run until cancelled."""
        previous = time.monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            passed, previous = now - previous, now
            if not self.is_paused:
                self.step(passed)

    def step(self, passed_seconds: float) -> None:
        """Advance the fleet by real seconds times the speed, and send its notifications."""
        step_seconds = min(passed_seconds, MAX_SECONDS_A_STEP)
        self.lag_seconds += passed_seconds - step_seconds
        notifications = self._fleet.advance(self._fleet.now + timedelta(seconds=step_seconds * self.speed))
        self._delivery.post(notifications, self._fleet.now)
