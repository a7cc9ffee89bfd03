"""Record revisions of master data: what tracked columns were before a change, and the source of the change.

:mod:`storage.schema.tracked` names the tracked columns. The fact that makes a revision identifies it, and a fact
changes a row only once, so repeated notifications and reads add no revisions. A fact that is older than what is stored
changes no row and makes no revision.

The changes of one transaction are one revision of each column group, except boots: each boot that is newer than the
stored one is a revision. What an entity was when it was first stored is no revision, and neither are facts without a
time of their own, which only fill a group until the entity is read.

A provisional fact makes a revision, and so does the read that completes it. A provisional fact may lack columns or have
an older vocabulary. So the revision of the read shows what changed since the last fact that was not provisional: the
revisions that are not provisional are a history without gaps by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from storage.documents import to_json
from storage.schema.entities import MIRRORS
from storage.schema.tracked import TRACKED, TrackedGroup
from storage.state.changes import FactKey
from storage.state.fold import BEGINNING, Fact
from storage.state.version import Version, is_provisional_sql


@dataclass(frozen=True, slots=True)
class MasterRevision:
    """A change of the tracked part of a column group.

    Attributes:
        kind: the kind of the entity.
        entity_id: the id of the entity at AMPECO.
        column_group: the name of the column group.
        fact_at: the time of the new fact by its source's clock.
        fact_version: the version of the new fact.
        former: the former values of all tracked columns, as JSON text.
        present: their new values.
        is_event: whether it is a revision even if no value differs.
        is_settling: whether the new fact is not provisional, and the former one was.
    """

    kind: str
    entity_id: int
    column_group: str
    fact_at: datetime
    fact_version: Version
    former: str
    present: str
    is_event: bool
    is_settling: bool

    @property
    def fact(self) -> FactKey:
        """The fact that made the revision."""
        return FactKey(self.kind, self.entity_id, self.column_group, self.fact_at, self.fact_version)


class _State(NamedTuple):
    """A tracked group after one fact."""

    at: datetime
    version: Version
    values: str


def tracked_ids(kind: str, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the ids of the rows to write that have a fact with a time of its own in a tracked group."""
    key = MIRRORS[kind].key
    columns = [tracked.group.at for tracked in TRACKED.get(kind, ())]
    return [row[key] for row in rows if any(row.get(at) is not None and row[at] > BEGINNING for at in columns)]


def returned_columns(kind: str, alias: str, prefix: str = "") -> str:
    """Return a SQL list of what :func:`changed_groups` compares; see :meth:`TrackedGroup.returned`."""
    return ", ".join(tracked.returned(alias, prefix) for tracked in TRACKED[kind])


def changed_groups(
    kind: str,
    entity_id: int,
    former: Mapping[str, Any] | None,
    present: Mapping[str, Any],
    events: Iterable[Fact] = (),
    *,
    prefix: str = "",
) -> Iterator[MasterRevision]:
    """Yield the revisions of an entity that was written.

    Parameters:
        kind: the kind of the entity.
        entity_id: the id of the entity at AMPECO.
        former: the columns of :func:`returned_columns` before the row was written; None if there was no row.
        present: the same columns now.
        events: the facts that were folded of groups in which each fact is a revision.
        prefix: precedes the names of the columns in ``former``.
    """
    for tracked in TRACKED[kind]:
        before = None if former is None else _state(tracked, former, prefix)
        now = _state(tracked, present)
        if now is None:
            continue
        for after in [*_between(tracked, events, before, now), now]:
            if before is not None:
                is_event = tracked.is_event and before.at != after.at
                is_settling = before.version.is_provisional and not after.version.is_provisional
                if is_event or is_settling or before.values != after.values:
                    yield MasterRevision(
                        *(kind, entity_id, tracked.group.name, after.at, after.version),
                        *(before.values, after.values, is_event, is_settling),
                    )
            before = after


def _state(tracked: TrackedGroup, columns: Mapping[str, Any], prefix: str = "") -> _State | None:
    """Return a tracked group as a row has it; None if the row has no fact of it, or one without a time of its own."""
    at = columns[f"{prefix}{tracked.group.at}"]
    if at is None or at <= BEGINNING:
        return None
    return _State(at, Version(columns[f"{prefix}{tracked.group.version}"]), columns[f"{prefix}{tracked.values}"])


def _between(tracked: TrackedGroup, events: Iterable[Fact], before: _State | None, now: _State) -> list[_State]:
    """Return the states between two, in which no other transaction saw the row, by the events."""
    states = {
        fact.order: _State(fact.at, fact.version, to_json({name: fact.values.get(name) for name in tracked.columns}))
        for fact in events
        if fact.group == tracked.group.name and (before is None or fact.order > before[:2]) and fact.order < now[:2]
    }
    return [states[order] for order in sorted(states)]


# Index: primary key. JSON compares numbers as numbers, so a price with another number of decimals does not count as
# changed. The JSON of the columns is passed as it came, so that no digit is lost. If a fact completes provisional ones,
# the former value of a column is what the first of them replaced: since the last revision that is not provisional,
# only they have changed it.
_INSERT = text(f"""
INSERT INTO charging.master_revision (
       tenant, kind, entity_id, column_group, fact_at, fact_version, changed_from, changed_to, source, notification_id)
SELECT :tenant,
       kind,
       entity_id,
       column_group,
       fact_at,
       fact_version,
       coalesce(changed.changed_from, '{{}}'),
       coalesce(changed.changed_to, '{{}}'),
       source,
       notification_id
  FROM json_to_recordset(CAST(:rows AS json)) AS revision (
       kind text, entity_id bigint, column_group text, fact_at timestamptz, fact_version text,
       former jsonb, present jsonb, is_event boolean, is_settling boolean, source text, notification_id uuid)
 CROSS JOIN LATERAL (
       SELECT coalesce(jsonb_object_agg(name, value), '{{}}')
         FROM (SELECT DISTINCT ON (replaced.name) replaced.name, replaced.value
                 FROM charging.master_revision AS provisional
                CROSS JOIN LATERAL jsonb_each(provisional.changed_from) AS replaced (name, value)
                WHERE revision.is_settling
                  AND provisional.tenant = :tenant
                  AND provisional.kind = revision.kind
                  AND provisional.entity_id = revision.entity_id
                  AND provisional.column_group = revision.column_group
                  AND {is_provisional_sql("provisional.fact_version")}
                  AND NOT EXISTS (
                      SELECT
                        FROM charging.master_revision AS later
                       WHERE later.tenant = :tenant
                         AND later.kind = revision.kind
                         AND later.entity_id = revision.entity_id
                         AND later.column_group = revision.column_group
                         AND (later.fact_at, later.fact_version) > (provisional.fact_at, provisional.fact_version)
                         AND NOT {is_provisional_sql("later.fact_version")})
                ORDER BY replaced.name, provisional.fact_at, provisional.fact_version) AS first_replaced
       ) AS settled (former)
 CROSS JOIN LATERAL (
       SELECT jsonb_object_agg(name, (revision.former || settled.former) -> name),
              jsonb_object_agg(name, present -> name)
         FROM jsonb_object_keys(present) AS described (name)
        WHERE (revision.former || settled.former) -> name IS DISTINCT FROM present -> name
       ) AS changed (changed_from, changed_to)
 WHERE is_event
    OR changed.changed_from IS NOT NULL
 ORDER BY kind, entity_id, fact_at, column_group, fact_version
    ON CONFLICT DO NOTHING
""")  # noqa: S608 - the conditions are ours


def record_master_revisions(
    connection: Connection,
    tenant: str,
    revisions: Sequence[MasterRevision],
    source_notifications: Mapping[FactKey, UUID],
) -> None:
    """Record revisions; nothing is executed if there are none.

    Parameters:
        connection: has locked the rows of the entities, so that no other transaction records the same revisions.
        tenant: the tenant's name.
        revisions: the revisions of the rows that were written in this transaction.
        source_notifications: the notifications that contain the facts.
    """
    if revisions:
        rows = [_row(revision, source_notifications.get(revision.fact)) for revision in revisions]
        connection.execute(_INSERT, {"tenant": tenant, "rows": to_json(rows)})


def _row(revision: MasterRevision, notification_id: UUID | None) -> dict[str, Any]:
    from_log = "rebuild" if notification_id is None else "notification"
    return asdict(revision) | {
        "former": orjson.Fragment(revision.former),
        "present": orjson.Fragment(revision.present),
        "source": "read" if revision.fact_version.is_read else from_log,
        "notification_id": notification_id,
    }
