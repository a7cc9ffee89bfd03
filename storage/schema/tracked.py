"""Name the tracked columns: those of master data whose history is kept.

A mirror holds the present values only. For the columns here, ``charging.master_observation`` keeps what each fact said.
Hardware and network statuses have histories of their own, and nothing about people is tracked: no users, no id tags,
no owner of a charge point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storage.schema.column_groups import ColumnGroup
from storage.schema.entities import MIRRORS, PERSONAL_COLUMNS


@dataclass(frozen=True, slots=True)
class TrackedGroup:
    """The tracked part of a column group.

    Attributes:
        group: the column group.
        columns: its tracked columns.
        raw_keys: tracked keys of its column ``raw``, which have no column.
    """

    group: ColumnGroup
    columns: tuple[str, ...]
    raw_keys: tuple[str, ...] = ()

    def part_of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tracked part of a fact's values: its columns, and ``raw`` with the tracked keys alone."""
        part = {name: values.get(name) for name in self.columns}
        if self.raw_keys:
            raw = values.get("raw") or {}
            part["raw"] = {key: raw[key] for key in self.raw_keys if key in raw}
        return part


def _tracked(kind: str, name: str, *raw_keys: str) -> TrackedGroup:
    group = MIRRORS[kind].group(name)
    columns = tuple(column for column in group.columns if column != "raw" and column not in PERSONAL_COLUMNS)
    return TrackedGroup(group, columns, raw_keys)


#: The tracked groups of each kind that has any. Prices by the time of day are in a tariff's ``pricing`` only. A
#: connector's EVSE is in its group ``presence``.
TRACKED: dict[str, tuple[TrackedGroup, ...]] = {
    "location": (_tracked("location", "master"),),
    "charge_point": (_tracked("charge_point", "master"), _tracked("charge_point", "boot")),
    "evse": (_tracked("evse", "master"),),
    "connector": (
        _tracked("connector", "master"),
        TrackedGroup(MIRRORS["connector"].group("presence"), ("evse_id",)),
    ),
    "tariff": (_tracked("tariff", "master", "pricing"),),
    "parking_space": (_tracked("parking_space", "master", "occupancyStatus", "status"),),
}

#: The tracked groups by kind and name.
TRACKED_GROUPS = {(kind, each.group.name): each for kind, groups in TRACKED.items() for each in groups}
