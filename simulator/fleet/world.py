"""The state that all parts of the fleet share: entities, clock, random generator, notifications."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from simulator.fleet.model import Tenant
from simulator.fleet.timeline import Timeline


@dataclass(frozen=True, slots=True)
class World:
    """The state that all parts of the fleet share.

    Every event is drawn from ``rng`` in the order of ``timeline``, and from no other source, so that
    the same seed gives the same history.

    Attributes:
        notify: called with the body of each notification.
        is_sending: whether notifications are sent, which is false in the warm-up; the bodies of
            frequent ones need not be made before.
        followers: by notification type, the parts of the fleet that react to a notification, in the
            warm-up too.
    """

    tenant: Tenant
    rng: random.Random
    timeline: Timeline
    notify: Callable[[dict[str, Any]], None]
    is_sending: Callable[[], bool]
    followers: dict[str, list[Callable[[dict[str, Any]], None]]] = field(default_factory=dict)

    def follow(self, notification: str, action: Callable[[dict[str, Any]], None]) -> None:
        """Call ``action`` with the body of each notification of a type, before it is sent."""
        self.followers.setdefault(notification, []).append(action)

    @property
    def now(self) -> datetime:
        """The present time of the simulated clock."""
        return self.timeline.now

    @property
    def second(self) -> datetime:
        """The present time to the second, the precision of AMPECO's times."""
        return self.timeline.now.replace(microsecond=0)

    def between(self, low_seconds: float, high_seconds: float) -> timedelta:
        """Draw a duration between two limits."""
        return timedelta(seconds=self.rng.uniform(low_seconds, high_seconds))

    def expect(self, mean: timedelta, action: Callable[[], None]) -> None:
        """Schedule an action once, after an exponentially distributed delay with this mean."""
        self.timeline.after(timedelta(seconds=self.rng.expovariate(1 / mean.total_seconds())), action)
