"""What staff do with plain records: they are there at the start, and are edited, added and deleted.

It has a random generator of its own, so that it does not change what the seed makes of the rest.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from simulator.fleet.model import Record
from simulator.fleet.records import billing, energy, hardware, partners, roaming_partners
from simulator.fleet.records.record import Draft, RecordKind, add
from simulator.fleet.world import World

#: The mean time between two events of each sort in the whole tenant.
EDIT_EVERY = timedelta(hours=3)
ADD_EVERY = timedelta(hours=16)
DELETE_EVERY = timedelta(hours=16)

#: Records of a kind that always remain.
MIN_LEFT = 2

#: Every kind, after those that it refers to.
KINDS: tuple[RecordKind, ...] = (
    *billing.KINDS,
    *partners.KINDS,
    *hardware.KINDS,
    *energy.KINDS,
    *roaming_partners.KINDS,
)

_EDITED = tuple(kind for kind in KINDS if kind.edit is not None)
_REPLACED = tuple(kind for kind in KINDS if kind.is_replaceable)


class Staff:
    """The simulation of the people who keep plain records."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._tenant = world.tenant
        self._rng = random.Random(f"records {seed}")  # noqa: S311 - a simulation, not a secret
        old = (world.now - timedelta(days=200)).replace(microsecond=0)
        for kind in KINDS:
            for number in range(kind.count):
                self._add(kind, old + timedelta(hours=number))
        world.follow("TariffChangedNotification", self._take_from_groups)

    def expect(self) -> None:
        """Schedule the first event of each sort."""
        self._after(EDIT_EVERY, self._edit)
        self._after(ADD_EVERY, self._add_any)
        self._after(DELETE_EVERY, self._delete)

    def _after(self, mean: timedelta, action: Callable[[], None]) -> None:
        self._world.timeline.after(timedelta(seconds=self._rng.expovariate(1 / mean.total_seconds())), action)

    def _add(self, kind: RecordKind, at: datetime) -> Record:
        number = len(self._tenant.records.get(kind.name, ()))
        fields = kind.build(Draft(self._tenant, number, at, self._world.second))
        return add(self._tenant, kind.name, kind.first_id, fields, at)

    def _add_any(self) -> None:
        self._add(self._rng.choice(_REPLACED), self._world.second)
        self._after(ADD_EVERY, self._add_any)

    def _edit(self) -> None:
        kind = self._rng.choice(_EDITED)
        record = self._rng.choice(self._tenant.live_records(kind.name))
        assert kind.edit is not None
        kind.edit(record.fields, self._rng)
        record.changed_at = self._world.second
        self._after(EDIT_EVERY, self._edit)

    def _delete(self) -> None:
        live = self._tenant.live_records(self._rng.choice(_REPLACED).name)
        if len(live) > MIN_LEFT:
            self._rng.choice(live).is_deleted = True
        self._after(DELETE_EVERY, self._delete)

    def _take_from_groups(self, body: dict[str, Any]) -> None:
        """Take a deleted tariff out of the groups that list it."""
        if body["action"] == "deleted":
            for group in self._tenant.live_records("tariff-groups"):
                if body["tariff"]["id"] in group.fields["tariffIds"]:
                    group.fields["tariffIds"].remove(body["tariff"]["id"])
                    group.changed_at = self._world.second
