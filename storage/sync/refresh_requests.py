"""Request reads: what of a written change set has to be read from the API, each entity at most once at a time.

Every entity has one row in the refresh queue, however often a read is requested: see :mod:`storage.sync.refresh_queue`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from ampeco.resources.kinds import KINDS
from storage.documents import to_json
from storage.schema.entities import MIRRORS
from storage.state.changes import ChangeSet, Entity, ReadReason
from storage.state.stored import snapshot_group
from storage.state.version import Version, is_provisional_sql
from storage.sync.refresh_queue import SHOWN_MARGIN

#: A start or stop notice is most often followed by a session update within a second or
#: two; waiting that long saves the read.
PROVISIONAL_DELAY = timedelta(seconds=5)

#: Changed entities of one kind wait this long for each other, so that one listing reads them all. Kinds that people
#: watch by the minute wait a quarter of one. Entities of other kinds change several times within a minute, such as an
#: authorization whose session starts.
PROMPT_KINDS = ("session", "evse", "charge_point", "location")
CHANGED_DELAY = timedelta(seconds=15)
OTHER_CHANGED_DELAY = timedelta(seconds=45)

#: An entity with a tombstone that a notification names again is read after this time. So an entity that our token
#: may not see, or of which late notifications arrive, is not read all the time.
GONE_DELAY = timedelta(minutes=5)

#: The filter of kinds of which AMPECO dates every change.
_LAST_UPDATED = ("last_updated_after",)

#: The kinds that have a read of their own; most other kinds are children of these.
READABLE = tuple(name for name, kind in KINDS.items() if kind.has_read)

#: The lower, the sooner. Kinds with statuses come first: EVSEs, then charge points. Sessions, the rest of the fleet
#: and commerce follow. A running session and a faulted EVSE have priority 0, before all others.
_WITH_STATUSES = ("evse", "charge_point")
_PRIORITIES = {
    name: position
    for position, name in enumerate(
        (*_WITH_STATUSES, *(name for name in KINDS if name not in _WITH_STATUSES)),
        start=1,
    )
}


# Index: primary key, here and of the mirrored tables. A request that is made during a read of the entity raises
# the generation, so that the end of that read does not remove it. The stronger reason
# is kept; see changes.ReadReason.
_REQUEST = text("""
INSERT INTO ingest.refresh_request AS known (
       tenant, kind, entity_id, reference, reason, requested_by, priority, due_at)
SELECT :tenant, kind, entity_id, reference, reason, requested_by,
       CASE
       WHEN kind = 'session' AND EXISTS (
            SELECT FROM charging.session
             WHERE session.tenant = :tenant
               AND session.session_id = requested.entity_id
               AND session.stopped_at IS NULL) THEN 0
       WHEN kind = 'evse' AND EXISTS (
            SELECT FROM charging.evse
             WHERE evse.tenant = :tenant
               AND evse.evse_id = requested.entity_id
               AND evse.hardware_status = 'faulted') THEN 0
       ELSE requested.priority
       END,
       now() + CASE reason
               WHEN 'provisional' THEN CAST(:provisional_delay AS interval)
               WHEN 'changed' THEN CASE
                    WHEN kind = ANY(:prompt_kinds) THEN CAST(:changed_delay AS interval)
                    ELSE CAST(:other_changed_delay AS interval)
                    END
               WHEN 'gone' THEN CAST(:gone_delay AS interval)
               ELSE interval '0'
               END
  FROM json_populate_recordset(NULL::ingest.refresh_request, CAST(:requests AS json)) AS requested
 ORDER BY kind, entity_id, reference
    ON CONFLICT (tenant, kind, entity_id, reference) DO UPDATE SET
       generation = known.generation + 1,
       reason = least(known.reason, excluded.reason),
       priority = least(known.priority, excluded.priority),
       requested_by = excluded.requested_by,
       due_at = CASE WHEN known.attempts = 0 THEN least(known.due_at, excluded.due_at) ELSE known.due_at END
""")


def request_refresh(connection: Connection, tenant: str, changes: ChangeSet, conflicting: Sequence[Entity]) -> int:
    """Request the reads that a change set needs, and return how many entities they are of.

    Call this after the upsert, in the same transaction: an entity of ``changes.reads_if_unknown`` is requested if its
    row, or a snapshot in it, is missing; an entity of ``changes.required_reads`` that changed is not requested if a
    read has shown the change.

    Parameters:
        changes: the change set that was written.
        conflicting: entities about which facts of equal time contradict each other.
    """
    reasons = _unknown(connection, tenant, changes.reads_if_unknown)
    shown = _shown(connection, tenant, changes)
    reasons |= {entity: reason for entity, reason in changes.required_reads.items() if entity not in shown}
    reasons |= {entity: "conflicting" for entity in conflicting if entity.kind in READABLE}
    requests = [_row(*entity, "", reason, changes.requested_by.get(entity)) for entity, reason in reasons.items()]
    requests += [
        _row(kind, 0, reference, "changed", requested_by) for (kind, reference), requested_by in changes.lookups.items()
    ]
    if not requests:
        return 0
    connection.execute(
        _REQUEST,
        {
            "tenant": tenant,
            "requests": to_json(requests),
            "provisional_delay": PROVISIONAL_DELAY,
            "changed_delay": CHANGED_DELAY,
            "prompt_kinds": list(PROMPT_KINDS),
            "other_changed_delay": OTHER_CHANGED_DELAY,
            "gone_delay": GONE_DELAY,
        },
    )
    return len(requests)


def _row(kind: str, entity_id: int, reference: str, reason: ReadReason, requested_by: UUID | None) -> dict[str, Any]:
    return {
        "kind": kind,
        "entity_id": entity_id,
        "reference": reference,
        "reason": reason,
        "priority": _PRIORITIES[kind],
        "requested_by": requested_by,
    }


def _unknown(
    connection: Connection, tenant: str, mentioned: Mapping[Entity, datetime | None]
) -> dict[Entity, ReadReason]:
    """Return the mentioned entities that have no stored snapshot, or an outdated tombstone, with the reason.

    A tombstone is outdated if the entity was seen after the read that did not find it, or at an unknown time.
    Index: the primary key of each mirrored table.

    Parameters:
        mentioned: when each entity was seen, by the tenant's clock; None if that is not known.
    """
    by_kind = _by_kind(mentioned)
    if not by_kind:
        return {}
    parameters: dict[str, Any] = {"tenant": tenant}
    for kind, seen_at in by_kind.items():
        parameters |= {f"{kind}_ids": list(seen_at), f"{kind}_seen_at": list(seen_at.values())}
    rows = connection.execute(_unknown_statement(tuple(sorted(by_kind))), parameters)
    return {Entity(kind, entity_id): reason for kind, entity_id, reason in rows}


# One statement for all kinds, because in a small chunk a round trip costs more than the rows.
@lru_cache(maxsize=128)
def _unknown_statement(kinds: tuple[str, ...]) -> TextClause:
    return text("\n UNION ALL\n".join(map(_unknown_of_kind, kinds)))


def _unknown_of_kind(kind: str) -> str:
    mirror, version = MIRRORS[kind], f"known.{snapshot_group(kind)}_version"
    return f"""
SELECT '{kind}' AS kind, entity_id, CASE WHEN known.deleted_at IS NULL THEN 'unknown' ELSE 'gone' END AS reason
  FROM unnest(CAST(:{kind}_ids AS bigint[]), CAST(:{kind}_seen_at AS timestamptz[])) AS mentioned (entity_id, seen_at)
  LEFT JOIN charging.{mirror.name} AS known
         ON {mirror.matches("known")}
        AND known.{mirror.key} = mentioned.entity_id
 WHERE CASE
       WHEN known.deleted_at IS NULL
       THEN {version} IS NULL OR {is_provisional_sql(version)}
       ELSE coalesce(mentioned.seen_at > known.presence_at, true)
       END"""  # noqa: S608 - the names are ours


def _shown(connection: Connection, tenant: str, changes: ChangeSet) -> set[Entity]:
    """Return the changed entities whose change a stored read shows: most often, the notification came late or twice.

    Such a read began after the change, and showed the entity as of the change or later, by the entity's own time.
    Nothing about the entity is provisional or conflicting, and it has no tombstone.
    Index: the primary key of each mirrored table.
    """
    changed_at = {
        entity: at
        for entity, at in changes.changed_at.items()
        if changes.required_reads.get(entity) == "changed" and KINDS[entity.kind].changed_filters == _LAST_UPDATED
    }
    shown: set[Entity] = set()
    for name, at in _by_kind(changed_at).items():
        rows = connection.execute(
            _shown_statement(name),
            {
                "tenant": tenant,
                "ids": list(at),
                "changed_at": list(at.values()),
                "read_from": [Version.first_of_reads_since(moment + SHOWN_MARGIN) for moment in at.values()],
            },
        )
        shown |= {Entity(name, entity_id) for entity_id in rows.scalars()}
    return shown


@cache
def _shown_statement(kind: str) -> TextClause:
    mirror, snapshot = MIRRORS[kind], snapshot_group(kind)
    is_incomplete = " OR ".join(
        f"known.{group.conflicting} OR coalesce({is_provisional_sql(f'known.{group.version}')}, false)"
        for group in mirror.groups
    )
    return text(f"""
        SELECT entity_id
          FROM unnest(
               CAST(:ids AS bigint[]), CAST(:changed_at AS timestamptz[]), CAST(:read_from AS text[])
               ) AS changed (entity_id, changed_at, read_from)
          JOIN charging.{mirror.name} AS known
            ON {mirror.matches("known")}
           AND known.{mirror.key} = changed.entity_id
         WHERE known.deleted_at IS NULL
           AND known.{snapshot}_at >= changed.changed_at
           AND known.{snapshot}_version >= changed.read_from
           AND known.raw ->> 'lastUpdatedAt' IS NOT NULL
           AND NOT ({is_incomplete})
    """)  # noqa: S608 - the names are ours


_Time = TypeVar("_Time", datetime, datetime | None)


def _by_kind(times: Mapping[Entity, _Time]) -> dict[str, dict[int, _Time]]:
    """Return the times by kind and id, in the order of both."""
    by_kind: dict[str, dict[int, _Time]] = {}
    for entity, moment in sorted(times.items(), key=lambda item: item[0]):
        by_kind.setdefault(entity.kind, {})[entity.entity_id] = moment
    return by_kind
