"""Change sets: what notifications and reads say, expressed in our tables and columns.

The functions of :mod:`storage.state.notifications` and :mod:`storage.state.facts` fill a :class:`ChangeSet`.
:meth:`ChangeSet.absorb` adds the change set of one notification to that of its tenant in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from storage.schema.tracked import TRACKED_GROUPS
from storage.state.fold import BEGINNING, Fact
from storage.state.unknown_fields import UnknownFields
from storage.state.version import Version

#: Why a read is requested. If an entity is requested twice, the reason that comes first in the alphabet is kept,
#: which is the stronger: a request for ``provisional`` or ``unknown`` is superseded when a notification brings the
#: snapshot, any other request is not. ``gone``: a notification names an entity that has a tombstone.
ReadReason = Literal["changed", "conflicting", "gone", "provisional", "unknown"]


class Entity(NamedTuple):
    """One entity of the tenant: its kind and its id at AMPECO."""

    kind: str
    entity_id: int


class Listed(NamedTuple):
    """The children that a read of their parent listed.

    Attributes:
        kind: the kind of the parent.
        parent_id: the id of the parent.
        ids: the ids of the children; empty if the parent is gone.
        began_at: when the read began, by the tenant's clock.
    """

    kind: str
    parent_id: int
    ids: frozenset[int]
    began_at: datetime


class FactKey(NamedTuple):
    """The identity of a fact."""

    kind: str
    entity_id: int
    group: str
    at: datetime
    version: Version


@dataclass(slots=True)
class ChangeSet:
    """Facts to fold, observations to add, and reads to request.

    Attributes:
        facts: facts of mirrored entities.
        observations: rows of history tables, by table name.
        required_reads: entities to read whatever is stored of them, with the reason.
        changed_at: when the entities of required reads last changed, by the tenant's clock; an entity is left out if
            a notification does not say when. A read that showed the change, and began after it, makes a further read
            unnecessary.
        reads_if_unknown: entities to read unless they are stored completely, with the time of the evidence that they
            exist, by the tenant's clock; None if it has no time. An entity with a tombstone is read if there is no
            time, or a later one than the tombstone's.
        lookups: kind and reference of entities to look up in their listing, because their ids are not known,
            with the notification that names the reference.
        requested_by: the notification that requests a read, by entity.
        source_notifications: the first notification that contains a fact of a session or of a tracked group.
        listed: the children that reads of their parents listed.
        unknown_fields: types and fields that this release does not know, and values that it cannot read.
    """

    facts: list[Fact] = field(default_factory=list)
    observations: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    required_reads: dict[Entity, ReadReason] = field(default_factory=dict)
    changed_at: dict[Entity, datetime] = field(default_factory=dict)
    reads_if_unknown: dict[Entity, datetime | None] = field(default_factory=dict)
    lookups: dict[tuple[str, str], UUID | None] = field(default_factory=dict)
    requested_by: dict[Entity, UUID] = field(default_factory=dict)
    source_notifications: dict[FactKey, UUID] = field(default_factory=dict)
    listed: list[Listed] = field(default_factory=list)
    unknown_fields: UnknownFields = field(default_factory=UnknownFields)

    def observe(self, table: str, row: dict[str, Any]) -> None:
        """Add a row to a history table."""
        self.observations.setdefault(table, []).append(row)

    def require_read(
        self, kind: str, entity_id: int, reason: ReadReason, *, changed_at: datetime | None = None
    ) -> None:
        """Request a read of an entity, whatever is stored of it.

        Parameters:
            changed_at: when it changed, by the tenant's clock; None if that is not known.
        """
        entity = Entity(kind, entity_id)
        before = self.changed_at.pop(entity, None)
        is_dated = before is not None or entity not in self.required_reads
        if changed_at is not None and is_dated:
            self.changed_at[entity] = max(before or changed_at, changed_at)
        self.required_reads[entity] = reason

    def read_if_unknown(self, kind: str, entity_id: int | None, *, seen_at: datetime | None = None) -> None:
        """Request a read of an entity unless it is stored completely; do nothing for None.

        Parameters:
            seen_at: the latest time at which it existed, as far as this change set shows, by the tenant's clock.
        """
        if entity_id is not None:
            self._read_if_unknown(Entity(kind, entity_id), seen_at)

    def _read_if_unknown(self, entity: Entity, seen_at: datetime | None) -> None:
        before = self.reads_if_unknown.get(entity, seen_at)
        self.reads_if_unknown[entity] = None if before is None or seen_at is None else max(before, seen_at)

    def look_up(self, kind: str, reference: str) -> None:
        """Request a read of an entity that is known only by a reference in its listing."""
        self.lookups[kind, reference] = None

    def add(self, other: ChangeSet) -> None:
        """Add the change set of another source."""
        self.facts += other.facts
        for table, rows in other.observations.items():
            self.observations.setdefault(table, []).extend(rows)
        for entity, reason in other.required_reads.items():
            self.require_read(*entity, reason, changed_at=other.changed_at.get(entity))
        for entity, seen_at in other.reads_if_unknown.items():
            self._read_if_unknown(entity, seen_at)
        self.lookups |= other.lookups
        self.listed += other.listed
        if other.unknown_fields:
            self.unknown_fields.add(other.unknown_fields)

    def absorb(self, other: ChangeSet, requested_by: UUID) -> None:
        """Add the change set of one notification, and record that notification as the source.

        Parameters:
            other: the change set of the notification.
            requested_by: the id of the notification.
        """
        self.add(other)
        self.lookups |= dict.fromkeys(other.lookups, requested_by)
        for entity in (*other.required_reads, *other.reads_if_unknown):
            self.requested_by[entity] = requested_by
        for fact in other.facts:
            if fact.kind == "session" or is_tracked(fact):
                key = FactKey(fact.kind, fact.entity_id, fact.group, fact.at, fact.version)
                self.source_notifications.setdefault(key, requested_by)


def is_tracked(fact: Fact) -> bool:
    """Return whether a fact makes an observation of master data."""
    return fact.at > BEGINNING and (fact.kind, fact.group) in TRACKED_GROUPS
