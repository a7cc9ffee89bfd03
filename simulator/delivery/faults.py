"""The fault injector for notifications between the tenant and its subscribers."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from simulator.fleet.fleet import Notification
from simulator.settings import Faults


class FaultInjector:
    """The part of the simulator that drops, repeats, delays and reorders notifications.

    It has a random generator of its own, so that faults never change the fleet's history, and the
    same seed gives the same faults.
    """

    def __init__(self, seed: int) -> None:
        self.faults = Faults()
        self.counts: Counter[str] = Counter()
        self._rng = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._held: list[tuple[datetime, int, Notification]] = []
        self._order = itertools.count()

    @property
    def held(self) -> int:
        """The number of delayed notifications that are not yet due."""
        return len(self._held)

    def pass_on(self, notifications: Iterable[Notification], now: datetime) -> list[Notification]:
        """Apply the faults to new notifications; return those to send now, including delayed ones that are due."""
        sent: list[Notification] = []
        for notification in notifications:
            if self._happens(self.faults.drop):
                self.counts["dropped"] += 1
                continue
            copies = 1
            if self._happens(self.faults.duplicate):
                self.counts["duplicated"] += 1
                copies = 2
            for _ in range(copies):
                delay_seconds = self._delay_seconds()
                if delay_seconds is None:
                    sent.append(notification)
                else:
                    until = notification.at + timedelta(seconds=delay_seconds)
                    heapq.heappush(self._held, (until, next(self._order), notification))
        while self._held and self._held[0][0] <= now:
            sent.append(heapq.heappop(self._held)[2])
        return sent

    def let_go(self) -> list[Notification]:
        """Remove all delayed notifications and return them in the order of their due times."""
        released = [notification for _, _, notification in sorted(self._held, key=lambda entry: entry[:2])]
        self._held.clear()
        return released

    def _delay_seconds(self) -> float | None:
        """Draw a notification's delay in seconds of the tenant's clock; None for no delay."""
        if self._happens(self.faults.delay):
            self.counts["delayed"] += 1
            return self._rng.uniform(self.faults.delay_min_seconds, self.faults.delay_max_seconds)
        if self._happens(self.faults.reorder):
            self.counts["reordered"] += 1
            return self._rng.uniform(0, self.faults.reorder_seconds)
        return None

    def _happens(self, share: float) -> bool:
        return share > 0 and self._rng.random() < share
