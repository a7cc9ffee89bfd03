"""Name the tracked columns: those of master data whose changes are kept as revisions.

A mirror holds the present values only. For the columns here, ``charging.master_revision`` keeps what each was before a
change. Hardware and network statuses have histories of their own, and nothing about people is tracked: no users, no
id tags, no owner of a charge point.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.schema.column_groups import ColumnGroup
from storage.schema.entities import MIRRORS

#: Tracked columns must not name a person.
_PERSONAL = frozenset({"owner_user_id"})


@dataclass(frozen=True, slots=True)
class TrackedGroup:
    """The tracked part of a column group.

    Attributes:
        group: the column group.
        columns: its tracked columns.
        raw_keys: tracked keys of its column ``raw``, which have no column.
        is_event: whether each fact of a new time is a revision, even if no column differs. The columns of such a group
            are text, so that a fact and a row spell them alike.
    """

    group: ColumnGroup
    columns: tuple[str, ...]
    raw_keys: tuple[str, ...] = ()
    is_event: bool = False

    @property
    def values(self) -> str:
        """The name of the JSON of the tracked columns in :meth:`returned`."""
        return f"{self.group.name}_values"

    def returned(self, alias: str, prefix: str = "") -> str:
        """Return a SQL list of the group's time and version, and of its tracked columns as JSON text.

        Parameters:
            alias: the name of the table in the statement.
            prefix: precedes the names of the three columns.
        """
        at, version = self.group.at, self.group.version
        members = [f"'{name}', {alias}.{name}" for name in self.columns]
        members += [f"'{key}', {alias}.raw -> '{key}'" for key in self.raw_keys]
        return (
            f"{alias}.{at} AS {prefix}{at}, {alias}.{version} AS {prefix}{version},"
            f" CAST(jsonb_build_object({', '.join(members)}) AS text) AS {prefix}{self.values}"
        )


def _tracked(kind: str, name: str, *raw_keys: str, is_event: bool = False) -> TrackedGroup:
    group = MIRRORS[kind].group(name)
    columns = tuple(column for column in group.columns if column != "raw" and column not in _PERSONAL)
    return TrackedGroup(group, columns, raw_keys, is_event)


#: The tracked groups of each kind that has any. Prices by the time of day are in a tariff's ``pricing`` only. A
#: connector's EVSE is in its group ``presence``.
TRACKED: dict[str, tuple[TrackedGroup, ...]] = {
    "location": (_tracked("location", "master"),),
    "charge_point": (_tracked("charge_point", "master"), _tracked("charge_point", "boot", is_event=True)),
    "evse": (_tracked("evse", "master"),),
    "connector": (
        _tracked("connector", "master"),
        TrackedGroup(MIRRORS["connector"].group("presence"), ("evse_id",)),
    ),
    "tariff": (_tracked("tariff", "master", "pricing"),),
    "parking_space": (_tracked("parking_space", "master", "occupancyStatus", "status"),),
}

#: The kinds and column groups that are tracked, and those of them in which each fact of a new time is a revision.
TRACKED_GROUPS = frozenset((kind, each.group.name) for kind, groups in TRACKED.items() for each in groups)
EVENT_GROUPS = frozenset(
    (kind, each.group.name) for kind, groups in TRACKED.items() for each in groups if each.is_event
)
