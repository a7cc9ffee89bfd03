"""Change sets: what notifications and reads say, in the terms of our tables.

The functions of :mod:`storage.facts` fill a :class:`ChangeSet`; :func:`ChangeSet.absorb`
adds the change set of one notification to that of its tenant in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from storage.fold import Fact
from storage.unknown_fields import UnknownFields
from storage.version import Version

#: Why a read is wanted. Of two marks the one that is first in the alphabet stays, which
#: is the stronger: a read asked for as ``provisional`` or ``unknown`` is moot once a
#: snapshot has come by itself, one asked for otherwise is not. ``gone`` is a tombstoned
#: entity that is spoken of nevertheless.
Reason = Literal["changed", "conflicting", "gone", "provisional", "unknown"]


class Entity(NamedTuple):
    """One entity of the tenant: its kind and the id at AMPECO."""

    kind: str
    entity_id: int


class Listed(NamedTuple):
    """What a read of a parent said of its children.

    Attributes:
        kind: the parent's.
        ids: the children that it showed; none where the parent is gone.
        began_at: when the read began, by the tenant's clock.
    """

    kind: str
    parent_id: int
    ids: frozenset[int]
    began_at: datetime


class SessionFact(NamedTuple):
    """What tells a fact of a session from all others."""

    session_id: int
    group: str
    at: datetime
    version: Version


@dataclass(slots=True)
class ChangeSet:
    """Facts to fold, observations to add, and reads to ask for.

    Attributes:
        facts: facts of mirrored entities.
        observations: rows of history tables, by table name.
        required_reads: entities that need a read whatever is stored, with the reason.
        reads_if_unknown: entities that need a read if they are not stored completely.
        lookups: entities to look up in their listing, as only a reference to them is known: kind and
            reference, with the notification that names it.
        requested_by: the notification that requested a read, by entity.
        source_notifications: the first notification with a fact of a session.
        listed: the children that reads of their parents show.
        drift: what was sent and this release does not know.
    """

    facts: list[Fact] = field(default_factory=list)
    observations: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    required_reads: dict[Entity, Reason] = field(default_factory=dict)
    reads_if_unknown: set[Entity] = field(default_factory=set)
    lookups: dict[tuple[str, str], UUID | None] = field(default_factory=dict)
    requested_by: dict[Entity, UUID] = field(default_factory=dict)
    source_notifications: dict[SessionFact, UUID] = field(default_factory=dict)
    listed: list[Listed] = field(default_factory=list)
    unknown_fields: UnknownFields = field(default_factory=UnknownFields)

    def observe(self, table: str, row: dict[str, Any]) -> None:
        self.observations.setdefault(table, []).append(row)

    def require_read(self, kind: str, entity_id: int, reason: Reason) -> None:
        self.required_reads[Entity(kind, entity_id)] = reason

    def read_if_unknown(self, kind: str, entity_id: int | None) -> None:
        if entity_id is not None:
            self.reads_if_unknown.add(Entity(kind, entity_id))

    def look_up(self, kind: str, reference: str) -> None:
        self.lookups[kind, reference] = None

    def add(self, other: ChangeSet) -> None:
        """Add what another source said."""
        self.facts += other.facts
        for table, rows in other.observations.items():
            self.observations.setdefault(table, []).extend(rows)
        self.required_reads |= other.required_reads
        self.reads_if_unknown |= other.reads_if_unknown
        self.lookups |= other.lookups
        self.listed += other.listed
        if other.unknown_fields:
            self.unknown_fields.add(other.unknown_fields)

    def absorb(self, other: ChangeSet, requested_by: UUID) -> None:
        """Add what one notification said, and remember that it was the one that said it."""
        self.add(other)
        self.lookups |= dict.fromkeys(other.lookups, requested_by)
        for entity in (*other.required_reads, *other.reads_if_unknown):
            self.requested_by[entity] = requested_by
        for fact in other.facts:
            if fact.kind == "session":
                self.source_notifications.setdefault(
                    SessionFact(fact.entity_id, fact.group, fact.at, fact.version), requested_by
                )
