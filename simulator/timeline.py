"""A simulated clock and what is scheduled on it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta


class Timeline:
    """Runs actions in the order of their times; it never looks at a real clock.

    Two actions of one time run in the order in which they were scheduled, so the same
    schedule always runs the same way, in however many steps.
    """

    def __init__(self, start: datetime) -> None:
        self.now = start
        self._scheduled: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, delay: timedelta, action: Callable[[], None]) -> None:
        """Run ``action`` when ``delay`` has passed."""
        heapq.heappush(self._scheduled, (self.now + delay, next(self._order), action))

    def advance(self, to: datetime) -> None:
        """Run everything that is due up to ``to``, which becomes now."""
        while self._scheduled and self._scheduled[0][0] <= to:
            self.now, _, action = heapq.heappop(self._scheduled)
            action()
        self.now = max(self.now, to)
