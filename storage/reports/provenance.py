"""Say of each column of a stored entity where its value comes from, and what it replaced as far as history knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from storage.schema.column_groups import ColumnGroup
from storage.schema.entities import MIRRORS, PERSONAL_COLUMNS, Mirror
from storage.schema.tracked import TRACKED
from storage.state.clocks import CHARGE_POINT_GROUPS
from storage.state.fold import BEGINNING
from storage.state.version import Version

#: The most revisions and observations of an entity that are looked at, the latest ones.
MAX_HISTORY = 200


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a column group that history knows: a revision, or an observation after another one.

    Attributes:
        group: the column group.
        fact_at: the time of the new fact by its source's clock.
        version: the version of the new fact; None: it is an observation, which has none.
        changed_from, changed_to: the former and the new values by column.
        source: notification, read, status_log or rebuild.
        notification_id: the notification that contained the new fact; None: none did, or it is not known.
        recorded_at: when the change was written, by our clock.
    """

    group: str
    fact_at: datetime
    version: Version | None
    changed_from: Mapping[str, Any]
    changed_to: Mapping[str, Any]
    source: str
    notification_id: UUID | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Field:
    """A column of an entity.

    Attributes:
        name: its name.
        meaning: its comment.
        value: its value.
        is_personal: whether it names a person.
        is_tracked: whether history has each change of it since it was first stored.
        last_change: the last change of it that history knows; None: history knows none.
    """

    name: str
    meaning: str
    value: Any
    is_personal: bool
    is_tracked: bool
    last_change: Change | None


@dataclass(frozen=True, slots=True)
class GroupState:
    """A column group of an entity: its columns, and the fact that set them.

    Attributes:
        at: the time of the fact by its source's clock; None: there is no fact.
        version: the version of the fact; empty without one.
        is_conflicting: whether another fact of that time contradicts it.
        notification_id: the notification that contained the fact, if history knows it.
    """

    group: ColumnGroup
    at: datetime | None
    version: Version
    is_conflicting: bool
    notification_id: UUID | None
    fields: Sequence[Field]

    @property
    def clock(self) -> str:
        """Whose clock its time is by."""
        return "the charge point's clock" if self.group.name in CHARGE_POINT_GROUPS else "AMPECO's clock"

    @property
    def has_own_time(self) -> bool:
        """Whether the fact has a time of its own; without one it counts until any other fact arrives."""
        return self.at is not None and self.at > BEGINNING

    @property
    def needs_notification(self) -> bool:
        """Whether a notification set it that history does not name."""
        return self.at is not None and not self.version.is_read and self.notification_id is None


@dataclass(frozen=True, slots=True)
class Provenance:
    """An entity with the source of each of its columns.

    Attributes:
        groups: its column groups.
        changes: its history, the latest change first.
        first_seen_at: when its row was first written.
        updated_at: when its row last changed.
        deleted_at: when a read found it gone; None: it exists, or nothing else is known.
    """

    kind: str
    entity_id: int
    groups: Sequence[GroupState]
    changes: Sequence[Change]
    first_seen_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


def provenance(connection: Connection, tenant: str, kind: str, entity_id: int) -> Provenance | None:
    """Return an entity with the source of each of its columns; None if it is not stored. Index: primary key.

    Parameters:
        kind: a kind of ``MIRRORS``.
    """
    mirror = MIRRORS[kind]
    statement = text(
        f"SELECT * FROM charging.{mirror.name} AS known"  # noqa: S608 - the names are ours
        f" WHERE {mirror.matches('known')} AND {mirror.key} = :entity_id"
    )
    stored = connection.execute(statement, {"tenant": tenant, "entity_id": entity_id}).mappings().first()
    if stored is None:
        return None
    row = dict(stored)
    changes = history(connection, tenant, kind, entity_id)
    return Provenance(
        kind,
        entity_id,
        [_group_state(mirror, group, row, changes) for group in mirror.groups],
        changes,
        row["first_seen_at"],
        row["updated_at"],
        row["deleted_at"],
    )


def _group_state(mirror: Mirror, group: ColumnGroup, row: Mapping[str, Any], changes: Sequence[Change]) -> GroupState:
    at, version = row[group.at], Version(row[group.version] or "")
    own = [change for change in changes if change.group == group.name]
    return GroupState(
        group,
        at,
        version,
        row[group.conflicting],
        next((change.notification_id for change in own if _is_fact(change, at, version, row)), None),
        [_field(mirror, group, name, row[name], own) for name in group.columns],
    )


def _is_fact(change: Change, at: datetime | None, version: Version, row: Mapping[str, Any]) -> bool:
    """Return whether a change was made by the fact that a column group has now."""
    if change.fact_at != at or change.notification_id is None:
        return False
    if change.version is not None:
        return change.version == version
    return not version.is_read and all(row[name] == value for name, value in change.changed_to.items())


def _field(mirror: Mirror, group: ColumnGroup, name: str, value: Any, changes: Sequence[Change]) -> Field:
    meaning = mirror.table.columns[name].comment or ""
    of_column = [change for change in changes if name in change.changed_from]
    # One of a fact that arrived late is not the last one.
    last = max(of_column, key=lambda change: (change.fact_at, change.recorded_at), default=None)
    tracked = [each for each in TRACKED.get(mirror.kind or mirror.name, ()) if each.group.name == group.name]
    is_tracked = any(name in each.columns for each in tracked) and len(changes) < MAX_HISTORY
    return Field(name, meaning, value, name in PERSONAL_COLUMNS, is_tracked, last)


def history(connection: Connection, tenant: str, kind: str, entity_id: int) -> list[Change]:
    """Return the latest changes of an entity that history knows, the latest first."""
    parameters = {"tenant": tenant, "kind": kind, "entity_id": entity_id, "limit": MAX_HISTORY}
    changes: list[Change] = []
    if kind == "session":
        changes += _revisions(connection, _SESSION_REVISIONS, parameters)
    if kind in TRACKED:
        changes += _revisions(connection, _MASTER_REVISIONS, parameters)
    for group, statement in _OBSERVATIONS.get(kind, {}).items():
        rows = connection.execute(text(statement), parameters).mappings()
        changes += _changes_of_observations(group, [dict(row) for row in rows])
    return sorted(changes, key=lambda change: (change.recorded_at, change.fact_at), reverse=True)


# Index: primary key.
_SESSION_REVISIONS = """
SELECT column_group, fact_at, fact_version, changed_from, changed_to, source, notification_id, learned_at
  FROM charging.session_revision
 WHERE tenant = :tenant
   AND session_id = :entity_id
 ORDER BY learned_at DESC, fact_at DESC
 LIMIT :limit
"""

# Index: the unique constraint of what the view reads.
_MASTER_REVISIONS = """
SELECT column_group, fact_at, fact_version, changed_from, changed_to, source, notification_id, recorded_at
  FROM charging.master_revision
 WHERE tenant = :tenant
   AND kind = :kind
   AND entity_id = :entity_id
 ORDER BY fact_at DESC, column_group DESC, fact_version DESC
 LIMIT :limit
"""


def _revisions(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> Iterator[Change]:
    for group, at, version, former, present, source, notification_id, recorded_at in connection.execute(
        text(statement), parameters
    ):
        yield Change(group, at, Version(version), former, present, source, notification_id, recorded_at)


def _observations_of(table: str, key: str, columns: str) -> str:
    """Return a statement for the latest observations of an entity. Index: the unique constraint of the table."""
    return f"""
SELECT observed_at, source, notification_id, recorded_at, {columns}
  FROM charging.{table}
 WHERE tenant = :tenant
   AND {key} = :entity_id
 ORDER BY observed_at DESC, recorded_at DESC
 LIMIT :limit
"""  # noqa: S608 - the names are ours


_HARDWARE_COLUMNS = "hardware_status, error_code, error_info, vendor_id, vendor_error_code"

#: The observations of each kind, by the column group that holds the latest one.
_OBSERVATIONS = {
    "evse": {"hardware": _observations_of("evse_status_observation", "evse_id", _HARDWARE_COLUMNS)},
    "charge_point": {
        "hardware": _observations_of("charge_point_hardware_observation", "charge_point_id", _HARDWARE_COLUMNS),
        "network": _observations_of("charge_point_network_observation", "charge_point_id", "network_status"),
    },
}

_ABOUT_OBSERVATIONS = ("observed_at", "source", "notification_id", "recorded_at")


def _changes_of_observations(group: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Change]:
    """Yield the change from each observation to the one after it, without columns that stayed as they were."""
    for later, earlier in zip_longest(rows, rows[1:]):
        columns = [name for name in later if name not in _ABOUT_OBSERVATIONS]
        changed = [name for name in columns if earlier is not None and later[name] != earlier[name]]
        yield Change(
            group,
            later["observed_at"],
            None,
            {} if earlier is None else {name: earlier[name] for name in changed},
            {name: later[name] for name in (columns if earlier is None else changed)},
            later["source"],
            later["notification_id"],
            later["recorded_at"],
        )
