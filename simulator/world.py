"""What every part of the tenant's life shares: its entities, its clock, its chance, its voice."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from simulator.model import Tenant
from simulator.timeline import Timeline


@dataclass(frozen=True, slots=True)
class World:
    """The tenant and what moves it.

    Whatever happens is drawn from ``rng`` in the order of ``timeline``, and from nothing
    else: that is what makes two lives with one seed the same.

    Attributes:
        tell: called with the body of each notification, whether anybody listens or not.
        is_heard: whether anybody can listen; what is told often need not be put into words before.
    """

    tenant: Tenant
    rng: random.Random
    timeline: Timeline
    tell: Callable[[dict[str, Any]], None]
    is_heard: Callable[[], bool]

    @property
    def now(self) -> datetime:
        return self.timeline.now

    @property
    def second(self) -> datetime:
        """Now, as AMPECO tells times: to the second."""
        return self.timeline.now.replace(microsecond=0)

    def between(self, low_seconds: float, high_seconds: float) -> timedelta:
        return timedelta(seconds=self.rng.uniform(low_seconds, high_seconds))

    def expect(self, mean: timedelta, action: Callable[[], None]) -> None:
        """Let something happen once, at a time drawn around ``mean`` from now."""
        self.timeline.after(timedelta(seconds=self.rng.expovariate(1 / mean.total_seconds())), action)
