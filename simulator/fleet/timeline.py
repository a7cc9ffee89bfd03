"""A simulated clock with scheduled actions."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta


class Timeline:
    """A schedule that runs actions in the order of their times, without a real clock.

    Two actions of the same time run in the order in which they were scheduled, so the same schedule
    always runs in the same order, whatever the steps.
    """

    def __init__(self, start: datetime) -> None:
        self.now = start
        self._scheduled: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, delay: timedelta, action: Callable[[], None]) -> None:
        """Schedule ``action`` for the time after ``delay``."""
        heapq.heappush(self._scheduled, (self.now + delay, next(self._order), action))

    def advance(self, to: datetime) -> None:
        """Run the actions that are due up to ``to``, and set the clock to it."""
        while self._scheduled and self._scheduled[0][0] <= to:
            self.now, _, action = heapq.heappop(self._scheduled)
            action()
        self.now = max(self.now, to)
