"""Drift: types and fields that AMPECO sends and this release does not know, and values that it cannot read, counted.

Everything here is bounded, as the names are the sender's: what is held of one transaction,
and what is stored of each tenant and model. What is beyond is counted under ``*``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, text

from ampeco.catalogue import lookup
from ampeco.model import Model
from ampeco.unknown_fields import OTHERS, is_known_field, shape, shown_name, unknown_fields
from storage.documents import to_json

#: ``type``: of notification; ``field``: of a model; ``value``: one of a known field, that cannot be read.
What = Literal["type", "field", "value"]

#: The model of a type that nobody knows: there is none.
NO_MODEL = ""

#: Names that are held of one transaction.
MAX_NAMES_HELD = 200

#: Names that are stored of each tenant and model: AMPECO adds a few a year.
MAX_NAMES_STORED = 50

#: Rows that are shown; `MAX_NAMES_STORED` bounds them of each tenant and model.
MAX_SHOWN = 1_000


@dataclass(slots=True)
class Sighting:
    """What was seen of one name: how often, when, in what shape, and in which notification first."""

    what: What
    model: str
    name: str
    times: int
    first_seen_at: datetime
    last_seen_at: datetime
    shape: str | None
    notification_id: UUID | None


class UnknownFields:
    """What one transaction saw of unknown types and fields, and of unreadable values."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[tuple[What, str, str], Sighting] = {}

    def __bool__(self) -> bool:
        return bool(self._seen)

    def see_fields(self, model: Model, seen_at: datetime, notification_id: UUID | None = None) -> None:
        """Look for unknown fields and unreadable values in what was sent."""
        for field in unknown_fields(model):
            self._see(field.what, field.model, field.name, field.value, seen_at, notification_id)

    def see_type(self, name: object, body: dict[str, Any], seen_at: datetime, notification_id: UUID) -> None:
        """Count a notification of an unknown type."""
        shown = shown_name(name) if isinstance(name, str) else OTHERS
        self._see("type", NO_MODEL, shown, body, seen_at, notification_id)

    def add(self, other: UnknownFields) -> None:
        """Add what another source showed."""
        for one in other._seen.values():
            self._put(one)

    def clear(self) -> None:
        """Forget it all, where what is read was counted when it came."""
        self._seen.clear()

    def sightings(self) -> list[Sighting]:
        return list(self._seen.values())

    def _see(
        self, what: What, model: str, name: str, value: Any, seen_at: datetime, notification_id: UUID | None
    ) -> None:
        told = None if name == OTHERS else shape(value)
        self._put(Sighting(what, model, name, 1, seen_at, seen_at, told, notification_id))

    def _put(self, one: Sighting) -> None:
        """Count a sighting by its name; beyond the bound, with the others."""
        name = one.name
        if (one.what, one.model, name) not in self._seen and len(self._seen) >= MAX_NAMES_HELD:
            name = OTHERS
        known = self._seen.get((one.what, one.model, name))
        if known is None:
            self._seen[one.what, one.model, name] = replace(one, name=name, shape=None if name == OTHERS else one.shape)
            return
        known.times += one.times
        known.first_seen_at = min(known.first_seen_at, one.first_seen_at)
        known.last_seen_at = max(known.last_seen_at, one.last_seen_at)


# Index: primary key. A name that is new to a model whose room is taken is counted with the others.
_RECORD = text("""
WITH seen AS (
    SELECT what, model, name, times, first_seen_at, last_seen_at, shape, notification_id
      FROM json_populate_recordset(NULL::ingest.unknown_field, CAST(:sightings AS json))
), room AS (
    SELECT what, model, count(*) AS names
      FROM ingest.unknown_field
     WHERE tenant = :tenant
       AND (what, model) IN (SELECT what, model FROM seen)
     GROUP BY what, model
), ranked AS (
    SELECT seen.*,
           known.name IS NOT NULL OR seen.name = :others AS is_stored,
           coalesce(room.names, 0)
           + row_number() OVER (PARTITION BY seen.what, seen.model, known.name IS NULL ORDER BY seen.name) AS place
      FROM seen
      LEFT JOIN room USING (what, model)
      LEFT JOIN ingest.unknown_field AS known
             ON known.tenant = :tenant
            AND known.what = seen.what
            AND known.model = seen.model
            AND known.name = seen.name
), placed AS (
    SELECT what, model, times, first_seen_at, last_seen_at, shape, notification_id,
           CASE WHEN is_stored OR place <= :limit THEN name ELSE :others END AS name
      FROM ranked
)
INSERT INTO ingest.unknown_field AS known (
       tenant, what, model, name, times, first_seen_at, last_seen_at, shape, notification_id)
SELECT :tenant,
       what,
       model,
       name,
       sum(times),
       min(first_seen_at),
       max(last_seen_at),
       CASE WHEN name <> :others THEN min(shape) END,
       (array_agg(notification_id ORDER BY first_seen_at))[1]
  FROM placed
 GROUP BY what, model, name
 ORDER BY what, model, name
    ON CONFLICT (tenant, what, model, name) DO UPDATE SET
       times = known.times + excluded.times,
       first_seen_at = least(known.first_seen_at, excluded.first_seen_at),
       last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at)
""")


def record_unknown_fields(connection: Connection, tenant: str, unknown_fields: UnknownFields) -> None:
    """Count what was seen; no statement where nothing was.

    Call it last in a transaction: many see the same name at the same time, and wait for each other.
    """
    if unknown_fields:
        document = to_json([asdict(one) for one in unknown_fields.sightings()])
        connection.execute(
            _RECORD, {"tenant": tenant, "sightings": document, "limit": MAX_NAMES_STORED, "others": OTHERS}
        )


@dataclass(frozen=True, slots=True)
class UnknownName:
    """A type or a field of a model that this release does not know, or a value of a field that it cannot read."""

    tenant: str
    what: What
    model: str
    name: str
    times: int
    first_seen_at: datetime
    last_seen_at: datetime
    shape: str | None
    notification_id: UUID | None


_UNKNOWN = text("""
SELECT tenant, what, model, name, times, first_seen_at, last_seen_at, shape, notification_id
  FROM ingest.unknown_field
 ORDER BY last_seen_at DESC
 LIMIT :limit
""")


def unknown(connection: Connection) -> Sequence[UnknownName]:
    """What nobody knows yet, what was seen last first; what this release has learned is left out."""
    rows = connection.execute(_UNKNOWN, {"limit": MAX_SHOWN})
    return [one for one in (UnknownName(*row) for row in rows) if not _is_known(one)]


def _is_known(one: UnknownName) -> bool:
    if one.what == "value":
        return False
    return lookup(one.name) is not None if one.what == "type" else is_known_field(one.model, one.name)
