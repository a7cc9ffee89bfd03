"""What goes wrong with notifications between the tenant and its subscribers."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from simulator.fleet import Notification
from simulator.settings import Faults


class FaultInjector:
    """Drops, doubles, delays and shuffles notifications, as the faults ask.

    It draws from a generator of its own, so that faults never change what happens in the
    fleet, and the same seed meets the same faults.
    """

    def __init__(self, seed: int) -> None:
        self.faults = Faults()
        self.counts: Counter[str] = Counter()
        self._rng = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._held: list[tuple[datetime, int, Notification]] = []
        self._order = itertools.count()

    @property
    def held(self) -> int:
        """Notifications whose time has not come."""
        return len(self._held)

    def pass_on(self, notifications: Iterable[Notification], now: datetime) -> list[Notification]:
        """What is to be sent now, of these and of those that were held back before."""
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
                held_seconds = self._hold_seconds()
                if held_seconds is None:
                    sent.append(notification)
                else:
                    until = notification.at + timedelta(seconds=held_seconds)
                    heapq.heappush(self._held, (until, next(self._order), notification))
        while self._held and self._held[0][0] <= now:
            sent.append(heapq.heappop(self._held)[2])
        return sent

    def let_go(self) -> list[Notification]:
        """Everything that is held back, in the order in which its time would have come."""
        freed = [notification for _, _, notification in sorted(self._held, key=lambda held: held[:2])]
        self._held.clear()
        return freed

    def _hold_seconds(self) -> float | None:
        """For how many of the tenant's seconds a notification is held back, if it is."""
        if self._happens(self.faults.delay):
            self.counts["delayed"] += 1
            return self._rng.uniform(self.faults.delay_min_seconds, self.faults.delay_max_seconds)
        if self._happens(self.faults.reorder):
            self.counts["reordered"] += 1
            return self._rng.uniform(0, self.faults.reorder_seconds)
        return None

    def _happens(self, share: float) -> bool:
        return share > 0 and self._rng.random() < share
