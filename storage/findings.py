"""What a notification or a read says, in the terms of our tables.

The functions of :mod:`storage.facts` fill a :class:`Findings`; :func:`Findings.absorb`
adds one notification's findings to those of its tenant in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from storage.drift import Drift
from storage.fold import Fact
from storage.version import Version

#: Why a read is wanted. Of two marks the one that is first in the alphabet stays, which
#: is the stronger: a read asked for as ``provisional`` or ``unknown`` is moot once a
#: snapshot has come by itself, one asked for otherwise is not. ``gone`` is a tombstoned
#: entity that is spoken of nevertheless.
Reason = Literal["changed", "contested", "gone", "provisional", "unknown"]


class Entity(NamedTuple):
    """One entity of the tenant: its kind and the id at AMPECO."""

    entity: str
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
class Findings:
    """Facts to fold, observations to add, and reads to ask for.

    Attributes:
        facts: facts of mirrored entities.
        observations: rows of history tables, by table name.
        wanted: entities that want a read whatever is stored, with the reason.
        mentioned: entities that want a read if nothing is known of them yet.
        referred: entities that want a look into their listing, as only a reference to them was
            told: kind and reference, with the notification that told.
        marked_by: the notification that asked, by entity.
        told_by: the first notification that told a fact of a session.
        listed: the children that reads of their parents showed.
        drift: what was sent and nobody knows.
    """

    facts: list[Fact] = field(default_factory=list)
    observations: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    wanted: dict[Entity, Reason] = field(default_factory=dict)
    mentioned: set[Entity] = field(default_factory=set)
    referred: dict[tuple[str, str], UUID | None] = field(default_factory=dict)
    marked_by: dict[Entity, UUID] = field(default_factory=dict)
    told_by: dict[SessionFact, UUID] = field(default_factory=dict)
    listed: list[Listed] = field(default_factory=list)
    drift: Drift = field(default_factory=Drift)

    def observe(self, table: str, row: dict[str, Any]) -> None:
        self.observations.setdefault(table, []).append(row)

    def want(self, entity: str, entity_id: int, reason: Reason) -> None:
        self.wanted[Entity(entity, entity_id)] = reason

    def mention(self, entity: str, entity_id: int | None) -> None:
        if entity_id is not None:
            self.mentioned.add(Entity(entity, entity_id))

    def refer(self, kind: str, reference: str) -> None:
        self.referred[kind, reference] = None

    def add(self, other: Findings) -> None:
        """Add what another source said."""
        self.facts += other.facts
        for table, rows in other.observations.items():
            self.observations.setdefault(table, []).extend(rows)
        self.wanted |= other.wanted
        self.mentioned |= other.mentioned
        self.referred |= other.referred
        self.listed += other.listed
        if other.drift:
            self.drift.add(other.drift)

    def absorb(self, other: Findings, marked_by: UUID) -> None:
        """Add what one notification said, and remember that it was the one that said it."""
        self.add(other)
        self.referred |= dict.fromkeys(other.referred, marked_by)
        for entity in (*other.wanted, *other.mentioned):
            self.marked_by[entity] = marked_by
        for fact in other.facts:
            if fact.entity == "session":
                self.told_by.setdefault(SessionFact(fact.entity_id, fact.group, fact.at, fact.version), marked_by)
