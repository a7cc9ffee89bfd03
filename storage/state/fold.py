"""Fold facts: reduce any number of facts about an entity to one row, whatever their order.

A *fact* says what one column group of one entity was at one time of its source's clock. The newer of two facts
about a column group wins; of two facts of equal time the one with the greater *version* wins
(:mod:`storage.state.version`). This is a total order, so the same facts result in the same row, however they are
ordered and repeated. The rule is the same in Python, within a batch, and in :mod:`storage.state.upsert`, across
batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from storage.schema.entities import MIRRORS
from storage.state.version import Version

#: Older than any fact with a correct time: a fact of this time is current only until any other fact arrives.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Fact:
    """What one column group of one entity was at one time.

    Attributes:
        kind: the kind of the entity.
        entity_id: the id of the entity at AMPECO.
        group: the name of the column group.
        at: the time of the fact by its source's clock.
        values: one value for each column of the group; a missing value is null.
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
        """Sorts the facts about a column group; the greatest wins."""
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
    """Make a fact of a notification.

    Parameters:
        kind: the kind of the entity.
        entity_id: the id of the entity at AMPECO.
        group: the name of the column group.
        at: the time of the fact by its source's clock.
        values: one value for each column of the group; a missing value is null.
        final: whether the fact is of a final state, which wins over a running one of the same time.
        partial: whether the fact is partial, so that the column group is provisional until a read.
    """
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
    """Make a fact of a read of the API.

    Parameters:
        kind: the kind of the entity.
        entity_id: the id of the entity at AMPECO.
        group: the name of the column group.
        at: the time of the fact by its source's clock.
        values: one value for each column of the group; a missing value is null.
        began_at: when the read began, by the tenant's clock.
        rank: orders different facts of one read.
    """
    return Fact(kind, entity_id, group, at, values, Version.of_read(values, began_at=began_at, rank=rank))


@dataclass(slots=True)
class _Standing:
    """The newest fact of one column group, and whether another one of its time contradicts it."""

    fact: Fact
    conflicting: bool = False


class Fold:
    """The facts of one tenant, reduced to the newest of each column group."""

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self._newest: dict[str, dict[int, dict[str, _Standing]]] = {}
        for fact in facts:
            self.add(fact)

    def add(self, fact: Fact) -> None:
        """Add a fact."""
        groups = self._newest.setdefault(fact.kind, {}).setdefault(fact.entity_id, {})
        newest = groups.get(fact.group)
        if newest is None:
            groups[fact.group] = _Standing(fact)
            return
        if fact.at == newest.fact.at:
            newest.conflicting = _conflicting(newest, fact)
        elif fact.at > newest.fact.at:
            newest.conflicting = False
        if fact.order > newest.fact.order:
            newest.fact = fact

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Return the rows to write for one kind, in key order."""
        mirror = MIRRORS[kind]
        rows: list[dict[str, Any]] = []
        for entity_id, groups in sorted(self._newest.get(kind, {}).items()):
            row: dict[str, Any] = {**mirror.fixed, mirror.key: entity_id}
            for group in mirror.groups:
                newest = groups.get(group.name)
                row[group.conflicting] = newest is not None and newest.conflicting
                if newest is not None:
                    row |= newest.fact.values
                    row[group.at] = newest.fact.at
                    row[group.version] = newest.fact.version
            rows.append(row)
        return rows

    def kinds(self) -> list[str]:
        """Return the kinds that have facts, in the order of writing."""
        return [kind for kind in MIRRORS if kind in self._newest]


def _conflicting(newest: _Standing, fact: Fact) -> bool:
    """Return whether a column group is conflicting after a second fact of the same time."""
    if fact.version.settles(newest.fact.version):
        return False
    return newest.conflicting or newest.fact.version.conflicts_with(fact.version)
