"""Folding: many facts about an entity become at most one row, whatever their order.

A *fact* says what one column group of one entity was at one time of its source's
clock. Of two facts about a group the newer one stands; among facts of equal time the
one with the greater *version* stands. The rule is a total order, so every order and
repetition of the same facts ends in the same row, in Python within a batch as in
:mod:`storage.upsert` across batches.

A version is text, compared bytewise:

- a read of the API: ``1``, the microsecond of the tenant's clock at which the read
  began in 20 digits, ``:``, digest. It outranks every notification of equal time, and a
  later read outranks an earlier one. In the group ``presence`` the digits are followed by ``1``
  where the read shows the entity, and by ``0`` where it does not: of one read, "there" outranks "gone".
- a notification: ``0``, then ``1`` for a final state (else ``0``), then ``1`` for a whole
  snapshot (``0`` for a partial fact), ``:``, digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from storage.mirrors import MIRRORS

#: Older than any fact that a working clock gives: what is said then holds until anybody says more.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

DIGEST_LENGTH = 16


def json_default(value: object) -> str:
    """Serialise what orjson does not know; Postgres reads the text of a decimal exactly."""
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a row")


def digest(values: dict[str, Any]) -> str:
    """A short text that tells values apart; it is the same for the same ones in another spelling."""
    # `raw` repeats the columns in the vendor's words and is left out, unless it is all there
    # is: the same snapshot comes with other optional parts from a notification and from a
    # read. Absent and null are alike, and 5230 and 5230.0 are one number.
    said = {
        name: value.normalize() if isinstance(value, Decimal) else value
        for name, value in values.items()
        if value is not None and (name != "raw" or len(values) == 1)
    }
    canonical = orjson.dumps(said, default=json_default, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(canonical, digest_size=DIGEST_LENGTH // 2).hexdigest()


@dataclass(frozen=True, slots=True)
class Fact:
    """What one group of one entity was at one time.

    Attributes:
        entity: name of its kind, which is that of its table unless it is kept in ``resource``.
        entity_id: id of the entity at AMPECO.
        group: name of the column group.
        at: time of the fact by its source's clock.
        values: one value for each column of the group; absent ones are null.
        version: orders facts of equal time; see the module.
    """

    entity: str
    entity_id: int
    group: str
    at: datetime
    values: dict[str, Any]
    version: str

    @property
    def order(self) -> tuple[datetime, str]:
        return self.at, self.version


def notified(
    entity: str,
    entity_id: int,
    group: str,
    at: datetime,
    values: dict[str, Any],
    *,
    final: bool = False,
    partial: bool = False,
) -> Fact:
    """A fact that a notification told."""
    version = f"0{int(final)}{int(not partial)}:{digest(values)}"
    return Fact(entity, entity_id, group, at, values, version)


def read(
    entity: str,
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
    microsecond = int(began_at.timestamp() * 1_000_000)
    return Fact(entity, entity_id, group, at, values, f"1{microsecond:020d}{rank}:{digest(values)}")


def contest(one: str, other: str) -> bool:
    """Whether two versions of equal time contradict each other, so that a read must settle it.

    A partial fact that agrees in time with a snapshot only says less, and a final state
    ends a running one of the same second: neither is a contradiction. Two reads are
    never one either: the later stands.
    """
    if one[-DIGEST_LENGTH:] == other[-DIGEST_LENGTH:]:
        return False
    snapshots = one[:1] == "1" or one[2:3] == "1", other[:1] == "1" or other[2:3] == "1"
    if one[:1] == other[:1] == "1":
        return False
    if "1" in (one[:1], other[:1]):
        return all(snapshots)
    return one[:3] == other[:3]


def is_provisional(version: str) -> bool:
    """Whether a group rests on a partial fact, so that a read is wanted."""
    return version[:1] == "0" and version[2:3] == "0"


@dataclass(slots=True)
class _Standing:
    fact: Fact
    contested: bool = False


class Fold:
    """The facts of one tenant, folded to the newest of each group."""

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self._standing: dict[str, dict[int, dict[str, _Standing]]] = {}
        for fact in facts:
            self.add(fact)

    def add(self, fact: Fact) -> None:
        groups = self._standing.setdefault(fact.entity, {}).setdefault(fact.entity_id, {})
        known = groups.get(fact.group)
        if known is None:
            groups[fact.group] = _Standing(fact)
            return
        if fact.at == known.fact.at:
            known.contested = _contested(known, fact)
        elif fact.at > known.fact.at:
            known.contested = False
        if fact.order > known.fact.order:
            known.fact = fact

    def rows(self, entity: str, tenant: str) -> list[dict[str, Any]]:
        """The rows to write to one mirrored table, in key order."""
        mirror = MIRRORS[entity]
        rows: list[dict[str, Any]] = []
        for entity_id, groups in sorted(self._standing.get(entity, {}).items()):
            row: dict[str, Any] = {"tenant": tenant, **mirror.fixed, mirror.key: entity_id}
            for group in mirror.groups:
                standing = groups.get(group.name)
                row[group.contested] = standing is not None and standing.contested
                if standing is not None:
                    row |= standing.fact.values
                    row[group.at] = standing.fact.at
                    row[group.version] = standing.fact.version
            rows.append(row)
        return rows

    def entities(self) -> list[str]:
        """The mirrored tables that the facts touch, in the order of writing."""
        return [name for name in MIRRORS if name in self._standing]


def _contested(known: _Standing, fact: Fact) -> bool:
    """Whether the group is contested after a second fact of the same time."""
    if fact.version[:1] == "1" and fact.version >= known.fact.version:
        return False
    return known.contested or contest(known.fact.version, fact.version)
