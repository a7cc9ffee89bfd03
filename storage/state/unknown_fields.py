"""Count unknown fields: types and fields that this release does not know, and values that it cannot read.

The sender chooses the names, so their number is limited, both for one transaction and in the table for each tenant
and model. Names beyond the limits are counted under ``*``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, text

from ampeco.model import Model
from ampeco.notifications.catalogue import lookup
from ampeco.resources.unknown_fields import OTHERS, is_known_field, shape, shown_name, unknown_fields
from storage.documents import to_json

#: ``type``: an unknown notification type; ``field``: an unknown field of a model; ``value``: a value of a known
#: field that cannot be read.
What = Literal["type", "field", "value"]

#: The model in the row of an unknown type, which has no model.
NO_MODEL = ""

#: The most names in memory for one transaction.
MAX_NAMES_HELD = 200

#: The most names in the table for each tenant and model; AMPECO adds a few names a year.
MAX_NAMES_STORED = 50

#: The most rows that are shown; ``MAX_NAMES_STORED`` limits them for each tenant and model.
MAX_SHOWN = 1_000


@dataclass(slots=True)
class Sighting:
    """How often and when one name was seen, the JSON shape of its value, and the first notification with it."""

    what: What
    model: str
    name: str
    times: int
    first_seen_at: datetime
    last_seen_at: datetime
    shape: str | None
    notification_id: UUID | None


class UnknownFields:
    """The unknown types and fields, and the unreadable values, in the data of one transaction."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[tuple[What, str, str], Sighting] = {}

    def __bool__(self) -> bool:
        return bool(self._seen)

    def see_fields(self, model: Model, seen_at: datetime, notification_id: UUID | None = None) -> None:
        """Count the unknown fields and unreadable values in a parsed model and its parts.

        Parameters:
            model: the parsed model.
            seen_at: when its data was received.
            notification_id: the notification that contained it; None for a read.
        """
        for field in unknown_fields(model):
            self._see(field.what, field.model, field.name, field.value, seen_at, notification_id)

    def see_type(self, name: object, body: dict[str, Any], seen_at: datetime, notification_id: UUID) -> None:
        """Count a notification of an unknown type."""
        shown = shown_name(name) if isinstance(name, str) else OTHERS
        self._see("type", NO_MODEL, shown, body, seen_at, notification_id)

    def add(self, other: UnknownFields) -> None:
        """Add the counts of another source."""
        for sighting in other._seen.values():
            self._put(sighting)

    def clear(self) -> None:
        """Remove all counts; a replay does this, because its notifications were counted when they were applied."""
        self._seen.clear()

    def sightings(self) -> list[Sighting]:
        """Return the counts, one entry for each name."""
        return list(self._seen.values())

    def _see(
        self, what: What, model: str, name: str, value: Any, seen_at: datetime, notification_id: UUID | None
    ) -> None:
        value_shape = None if name == OTHERS else shape(value)
        self._put(Sighting(what, model, name, 1, seen_at, seen_at, value_shape, notification_id))

    def _put(self, sighting: Sighting) -> None:
        """Add a sighting to those of its name; beyond the limit, to those of all other names."""
        what, model, name = sighting.what, sighting.model, sighting.name
        if (what, model, name) not in self._seen and len(self._seen) >= MAX_NAMES_HELD:
            name = OTHERS
        previous = self._seen.get((what, model, name))
        if previous is None:
            shown_shape = None if name == OTHERS else sighting.shape
            self._seen[what, model, name] = replace(sighting, name=name, shape=shown_shape)
            return
        previous.times += sighting.times
        previous.first_seen_at = min(previous.first_seen_at, sighting.first_seen_at)
        previous.last_seen_at = max(previous.last_seen_at, sighting.last_seen_at)


# Index: primary key. A new name of a model that already has the most names is counted under `*`.
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
    """Add counts to those in the table; execute no statement if there are none.

    Call this late in a transaction: many transactions count the same names at the same time, and wait for each other.
    """
    if unknown_fields:
        document = to_json([asdict(sighting) for sighting in unknown_fields.sightings()])
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


def list_unknown_names(connection: Connection) -> Sequence[UnknownName]:
    """Return the stored names, latest first, without those that only earlier releases did not know.

    Of all tenants together, these are of the latest ``MAX_SHOWN`` rows; :func:`count_unknown_names` counts all.
    """
    names = (UnknownName(*row) for row in connection.execute(_UNKNOWN, {"limit": MAX_SHOWN}))
    return [name for name in names if not _is_known(name.what, name.model, name.name)]


# This reads all rows; ``MAX_NAMES_STORED`` limits them for each tenant and model.
_NAMES = text("SELECT tenant, what, model, name FROM ingest.unknown_field")


def count_unknown_names(connection: Connection) -> Counter[str]:
    """Return how many names each tenant has, without those that only earlier releases did not know."""
    rows = connection.execute(_NAMES)
    return Counter(tenant for tenant, what, model, name in rows if not _is_known(what, model, name))


def _is_known(what: What, model: str, name: str) -> bool:
    if what == "value":
        return False
    return lookup(name) is not None if what == "type" else is_known_field(model, name)
