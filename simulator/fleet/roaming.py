"""Roaming in the fleet: charge detail records (CDRs) of the tenant's drivers at other operators' EVSEs.

It has a random generator of its own, so that it does not change what the seed makes of the rest.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from simulator.fleet.resources import CURRENCY, instant
from simulator.fleet.world import World

FIRST_CDR, OPERATOR_ID, PLATFORM_ID = 3_000, 51, 2

PRICE_OF_A_KWH = 0.59

#: The longest time from a CDR's notification until the listing shows it.
MAX_LISTING_DELAY = timedelta(seconds=20)


@dataclass(slots=True)
class Cdr:
    """A CDR that another operator sent."""

    id: int
    roaming_id: str
    started_at: datetime
    received_at: datetime
    energy_wh: int
    is_deleted: bool = False


def cdr_resource(cdr: Cdr) -> dict[str, Any]:
    """Return a CDR as the API shows it."""
    energy_kwh = cdr.energy_wh / 1_000
    return {
        "id": cdr.id,
        "operatorId": OPERATOR_ID,
        "platformId": PLATFORM_ID,
        "protocolType": "OCPI",
        "sessionId": f"S-{cdr.roaming_id[:8]}",
        "receivedAt": instant(cdr.received_at),
        "startTime": instant(cdr.started_at),
        "endTime": instant(cdr.received_at),
        "ocpiData": {
            "version": "2.2",
            "authMethod": "WHITELIST",
            "currency": CURRENCY,
            "totalCost": round(energy_kwh * PRICE_OF_A_KWH, 2),
            "totalEnergy": energy_kwh,
            "totalTime": round((cdr.received_at - cdr.started_at).total_seconds() / 3_600, 4),
        },
        "roamingId": cdr.roaming_id,
        "credit": False,
        "isLocal": False,
    }


class Roaming:
    """The simulation of received CDRs.

    Attributes:
        cdrs: the CDRs that the API shows, by id.
    """

    def __init__(self, world: World, seed: int, *, cdrs_a_day: float, unlisted: float) -> None:
        self.cdrs: dict[int, Cdr] = {}
        self._world = world
        self._rng = random.Random(f"roaming {seed}")  # noqa: S311 - a simulation, not a secret
        self._mean_seconds = 86_400 / cdrs_a_day if cdrs_a_day else None
        self._unlisted = unlisted
        self._next_cdr = FIRST_CDR

    def expect(self) -> None:
        """Schedule the next CDR, if there are any."""
        if self._mean_seconds is not None:
            delay = timedelta(seconds=self._rng.expovariate(1 / self._mean_seconds))
            self._world.timeline.after(delay, self._receive)

    def _receive(self) -> None:
        now = self._world.second
        cdr = Cdr(
            id=self._next_cdr,
            roaming_id=str(uuid.UUID(int=self._rng.getrandbits(128), version=4)),
            started_at=now - timedelta(minutes=self._rng.randint(20, 240)),
            received_at=now,
            energy_wh=self._rng.randint(4_000, 60_000),
        )
        self._next_cdr += 1
        if self._rng.random() >= self._unlisted:
            delay = MAX_LISTING_DELAY * self._rng.random()
            self._world.timeline.after(delay, partial(self._list, cdr))
        self._world.notify({"notification": "cdr.received", "id": cdr.roaming_id, "createdAt": instant(now)})
        self.expect()

    def _list(self, cdr: Cdr) -> None:
        self.cdrs[cdr.id] = cdr
