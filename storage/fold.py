"""Folding: many facts about an entity become at most one row, whatever their order.

A *fact* says what one column group of one entity was at one time of its source's
clock. Of two facts about a group the newer one stands; among facts of equal time the
one with the greater *version* stands (:mod:`storage.version`). The rule is a total order, so every order and
repetition of the same facts ends in the same row, in Python within a batch as in
:mod:`storage.upsert` across batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from storage.mirrors import MIRRORS
from storage.version import Version

#: Older than any fact that a working clock gives: what is said then holds until anybody says more.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Fact:
    """What one group of one entity was at one time.

    Attributes:
        kind: name of its kind, which is that of its table unless it is kept in ``resource``.
        entity_id: id of the entity at AMPECO.
        group: name of the column group.
        at: time of the fact by its source's clock.
        values: one value for each column of the group; absent ones are null.
        version: orders facts of equal time.
    """

    kind: str
    entity_id: int
    group: str
    at: datetime
    values: dict[str, Any]
    version: Version

    @property
    def order(self) -> tuple[datetime, Version]:
        return self.at, self.version


def fact_from_notification(
    kind: str,
    entity_id: int,
    group: str,
    at: datetime,
    values: dict[str, Any],
    *,
    final: bool = False,
    partial: bool = False,
) -> Fact:
    """A fact that a notification told."""
    version = Version.of_notification(values, is_final=final, is_partial=partial)
    return Fact(kind, entity_id, group, at, values, version)


def fact_from_read(
    kind: str,
    entity_id: int,
    group: str,
    at: datetime,
    values: dict[str, Any],
    *,
    began_at: datetime,
    rank: str = "",
) -> Fact:
    """A fact that a read of the API told.

    Parameters:
        began_at: when the read began, by the tenant's clock.
        rank: orders different facts of one read.
    """
    return Fact(kind, entity_id, group, at, values, Version.of_read(values, began_at=began_at, rank=rank))


@dataclass(slots=True)
class _Standing:
    fact: Fact
    conflicting: bool = False


class Fold:
    """The facts of one tenant, folded to the newest of each group."""

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self._standing: dict[str, dict[int, dict[str, _Standing]]] = {}
        for fact in facts:
            self.add(fact)

    def add(self, fact: Fact) -> None:
        groups = self._standing.setdefault(fact.kind, {}).setdefault(fact.entity_id, {})
        known = groups.get(fact.group)
        if known is None:
            groups[fact.group] = _Standing(fact)
            return
        if fact.at == known.fact.at:
            known.conflicting = _conflicting(known, fact)
        elif fact.at > known.fact.at:
            known.conflicting = False
        if fact.order > known.fact.order:
            known.fact = fact

    def rows(self, kind: str, tenant: str) -> list[dict[str, Any]]:
        """The rows to write to one mirrored table, in key order."""
        mirror = MIRRORS[kind]
        rows: list[dict[str, Any]] = []
        for entity_id, groups in sorted(self._standing.get(kind, {}).items()):
            row: dict[str, Any] = {"tenant": tenant, **mirror.fixed, mirror.key: entity_id}
            for group in mirror.groups:
                standing = groups.get(group.name)
                row[group.conflicting] = standing is not None and standing.conflicting
                if standing is not None:
                    row |= standing.fact.values
                    row[group.at] = standing.fact.at
                    row[group.version] = standing.fact.version
            rows.append(row)
        return rows

    def entities(self) -> list[str]:
        """The mirrored tables that the facts touch, in the order of writing."""
        return [name for name in MIRRORS if name in self._standing]


def _conflicting(known: _Standing, fact: Fact) -> bool:
    """Whether the group is conflicting after a second fact of the same time."""
    if fact.version.is_read and fact.version >= known.fact.version:
        return False
    return known.conflicting or known.fact.version.conflicts_with(fact.version)
