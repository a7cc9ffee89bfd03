"""A plain record, the description of a kind of records, and what its builder gets."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from simulator.fleet.model import Record, Tenant
from simulator.fleet.resources import instant

Fields = dict[str, Any]
Edit = Callable[[Fields, random.Random], None]
T = TypeVar("T")


class _Live(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def is_deleted(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Draft:
    """What the builder of a record may use.

    Attributes:
        number: counts the records of a kind from 0.
        at: when the record is created.
        now: the present time of the tenant, which is later for the records of the start.
    """

    tenant: Tenant
    number: int
    at: datetime
    now: datetime

    @property
    def created(self) -> str:
        """The time of the creation, as AMPECO writes it."""
        return instant(self.at)

    def of(self, values: Sequence[T]) -> T:
        """Return the value that is next in turn."""
        return values[self.number % len(values)]

    def id_of(self, entities: Mapping[int, _Live]) -> int:
        """Return the id of the entity that is next in turn, without those that are deleted."""
        return self.of([entity.id for entity in entities.values() if not entity.is_deleted])

    def record_id(self, kind: str) -> int:
        """Return the id of the record of another kind that is next in turn."""
        return self.id_of(self.tenant.records[kind])

    def hence(self, **duration: float) -> str:
        """Return a time that is so much later than now; negative durations are earlier."""
        return instant((self.now + timedelta(**duration)).replace(microsecond=0))


@dataclass(frozen=True, slots=True)
class RecordKind:
    """A kind of records that staff keep.

    Attributes:
        name: the resource, as in the API's paths.
        first_id: the id of the first record.
        build: makes the fields of a record, without its id and the time of its last change.
        count: the number of records at the start.
        edit: changes the fields of a record; None if records of the kind stay as they are.
        is_replaceable: whether records are also added and deleted later, because nothing refers to them.
    """

    name: str
    first_id: int
    build: Callable[[Draft], Fields]
    count: int = 3
    edit: Edit | None = None
    is_replaceable: bool = False


def add(tenant: Tenant, kind: str, first_id: int, fields: Fields, at: datetime) -> Record:
    """Add a record to the tenant, with the next id of its kind, and return it."""
    records = tenant.records.setdefault(kind, {})
    record = Record(first_id + len(records), at, fields)
    records[record.id] = record
    return record


def text(translation: str) -> list[Fields]:
    """Return a text in AMPECO's localised form."""
    return [{"locale": "en", "translation": translation}]


def rename(key: str = "name") -> Edit:
    """Return an edit that changes a name."""

    def edit(fields: Fields, rng: random.Random) -> None:
        fields[key] = _renamed(fields[key], rng)

    return edit


def retranslate(key: str) -> Edit:
    """Return an edit that changes a localised text."""

    def edit(fields: Fields, rng: random.Random) -> None:
        fields[key] = text(_renamed(fields[key][0]["translation"], rng))

    return edit


def reprice(key: str) -> Edit:
    """Return an edit that raises an amount by a cent, because a fall could end below 0."""

    def edit(fields: Fields, _rng: random.Random) -> None:
        fields[key] = round(fields[key] + 0.01, 2)

    return edit


def next_of(key: str, values: Sequence[Any]) -> Edit:
    """Return an edit that sets the value after the present one, and the first one after the last."""

    def edit(fields: Fields, _rng: random.Random) -> None:
        fields[key] = values[(values.index(fields[key]) + 1) % len(values)]

    return edit


def _renamed(name: str, rng: random.Random) -> str:
    return f"{name.split(' (')[0]} ({rng.choice('ABCDEFGH')})"
