"""Queue refresh requests: which entities to read from the API, one row for each, however often it is requested."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from ampeco.resources.kinds import KINDS
from storage.documents import to_json
from storage.monitoring.processes import lease_ended
from storage.schema.entities import MIRRORS
from storage.state.changes import ChangeSet, Entity, ReadReason
from storage.state.stored import snapshot_group
from storage.state.version import Version, is_provisional_sql

#: How long a living process keeps the requests that it claimed, in case a thread hangs; longer than a round of reads
#: may take. Requests of a dead process are free as soon as its death is noticed.
LEASE = timedelta(seconds=180)

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

#: A read shows a change if it began so long after the time of the change, and shows that time or a later one: times are
#: in whole seconds, and the tenant's clock is known to a second.
SHOWN_MARGIN = timedelta(seconds=5)

#: Most requests that one page of a listing is compared with.
MAX_PENDING = 10_000

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


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """A claimed refresh request.

    Attributes:
        tenant: the tenant's name.
        kind: the kind of entity.
        entity_id: the id of the entity; 0 if only ``reference`` is known.
        reason: why the read was requested.
        generation: how often the read was requested since the last read.
        attempts: how often the request was claimed, this time included.
        requested_at: when the read was first requested since the last read.
        requested_by: the notification that last requested the read, if one did.
        leased_until: when the lease of this claim ends; no other claim of the request has the same time.
        reference: the reference by which to look the entity up in its listing, if its id is not known; else empty.
    """

    tenant: str
    kind: str
    entity_id: int
    reason: ReadReason
    generation: int
    attempts: int
    requested_at: datetime
    requested_by: UUID | None
    leased_until: datetime
    reference: str = ""

    @property
    def key(self) -> tuple[int, str]:
        """The identity of the request among those of its kind."""
        return self.entity_id, self.reference


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


# Whether no living process has a lease of the request, and the tenant's token may read its kind.
_CLAIMABLE = f"""
       {lease_ended("refresh_request")}
   AND NOT EXISTS (
       SELECT FROM ingest.inaccessible_kind
        WHERE inaccessible_kind.tenant = refresh_request.tenant
          AND inaccessible_kind.kind = refresh_request.kind
          AND inaccessible_kind.ask_again_at > now())
"""

# Indexes: refresh_request_tenant_due_at_idx, then the primary keys of refresh_request, of the few rows of
# inaccessible_kind and of the few of process. All requests of the most urgent kind are claimed together, due or not,
# because one listing reads them all; but those that failed before, or are of gone entities, wait until they are due.
# MATERIALIZED makes Postgres choose and lock rows once, whatever the plan, so that it never locks more than the limit.
# The holder is null if the process is not registered: its lease would be over at once.
_CLAIM = text(f"""
WITH urgent AS (
    SELECT kind
      FROM ingest.refresh_request
     WHERE tenant = :tenant
       AND due_at <= now()
       AND {_CLAIMABLE}
     ORDER BY priority, due_at
     LIMIT 1
), chosen AS MATERIALIZED (
    SELECT kind, entity_id, reference
      FROM ingest.refresh_request
      JOIN urgent USING (kind)
     WHERE tenant = :tenant
       AND (due_at <= now() OR (attempts = 0 AND reason <> 'gone'))
       AND {_CLAIMABLE}
     ORDER BY priority, due_at
     LIMIT :limit
       FOR UPDATE OF refresh_request SKIP LOCKED
)
UPDATE ingest.refresh_request AS request
   SET lease_expires_at = now() + :lease,
       leased_by = (SELECT process_id FROM ingest.process WHERE process_id = :holder),
       attempts = attempts + 1
  FROM chosen
 WHERE request.tenant = :tenant
   AND request.kind = chosen.kind
   AND request.entity_id = chosen.entity_id
   AND request.reference = chosen.reference
RETURNING request.tenant, request.kind, request.entity_id, reason, generation, attempts, requested_at, requested_by,
          lease_expires_at, request.reference, priority, due_at
""")  # noqa: S608 - the condition is ours


def claim(connection: Connection, tenant: str, *, limit: int, holder: UUID | None = None) -> list[RefreshRequest]:
    """Claim the requests of a tenant's most urgent kind, and return them most urgent first; commit before reading.

    Parameters:
        limit: the most requests to claim.
        holder: this process; the claim ends with it. None if the process is not registered.
    """
    parameters = {"tenant": tenant, "limit": limit, "lease": LEASE, "holder": holder}
    rows = sorted(connection.execute(_CLAIM, parameters), key=lambda row: (row.priority, row.due_at))
    return [RefreshRequest(*row[:10]) for row in rows]


#: Whether a request still has the lease of the claim. A process that lost its lease does not change requests that
#: another process has claimed since, or that were finished and made again.
_CLAIMED = """
       request.tenant = :tenant
   AND request.kind = claimed.kind
   AND request.entity_id = claimed.entity_id
   AND request.reference = claimed.reference
   AND request.lease_expires_at = claimed.lease_expires_at
"""

_REQUESTS = "json_populate_recordset(NULL::ingest.refresh_request, CAST(:requests AS json)) AS claimed"

# Index: primary key. Rows are locked in key order, as new requests lock them. This statement waits for a transaction
# that is making a request of the same entity: only a statement that begins afterwards sees its changes.
_LOCK_ROWS = text(f"""
SELECT
  FROM ingest.refresh_request AS request, {_REQUESTS}
 WHERE {_CLAIMED}
 ORDER BY request.kind, request.entity_id, request.reference
   FOR UPDATE OF request
""")  # noqa: S608 - the names are ours

# Index: primary key.
_FINISH = text(f"""
DELETE FROM ingest.refresh_request AS request
 USING {_REQUESTS}
 WHERE {_CLAIMED}
   AND request.generation = claimed.generation
""")  # noqa: S608 - the names are ours

# Index: primary key.
_FREE = text(f"""
UPDATE ingest.refresh_request AS request
   SET lease_expires_at = NULL, leased_by = NULL, attempts = 0, requested_at = now(), due_at = now(), last_error = NULL
  FROM {_REQUESTS}
 WHERE {_CLAIMED}
""")  # noqa: S608 - the names are ours


def finish(connection: Connection, tenant: str, requests: Sequence[RefreshRequest]) -> None:
    """Resolve claimed requests, in the transaction that writes what the reads found.

    A request that was made again since the claim stays and is due at once: the read may have begun too early.
    """
    if not requests:
        return
    parameters = {"tenant": tenant, "requests": _document(requests)}
    for statement in (_LOCK_ROWS, _FINISH, _FREE):
        connection.execute(statement, parameters)


def _document(requests: Sequence[RefreshRequest]) -> str:
    claimed = [
        {
            "kind": request.kind,
            "entity_id": request.entity_id,
            "reference": request.reference,
            "generation": request.generation,
            "lease_expires_at": request.leased_until,
        }
        for request in requests
    ]
    return to_json(claimed)


# Index: primary key.
_POSTPONE = text(f"""
UPDATE ingest.refresh_request AS request
   SET lease_expires_at = NULL,
       leased_by = NULL,
       due_at = now() + :delay,
       attempts = CASE WHEN :counts THEN request.attempts ELSE greatest(request.attempts - 1, 0) END,
       last_error = :error
  FROM {_REQUESTS}
 WHERE {_CLAIMED}
""")  # noqa: S608 - the names are ours


def postpone(
    connection: Connection,
    tenant: str,
    requests: Sequence[RefreshRequest],
    *,
    delay: timedelta,
    error: str | None,
    counts: bool,
) -> None:
    """Leave claimed requests for a later time.

    Parameters:
        requests: the claimed requests.
        delay: how long to wait.
        error: the reason, which ``status`` shows; None if it does not concern these requests.
        counts: whether the attempt counts; it does not if the whole tenant is paused.
    """
    parameters = {"tenant": tenant, "requests": _document(requests)}
    connection.execute(_LOCK_ROWS, parameters)
    connection.execute(_POSTPONE, parameters | {"delay": delay, "error": error, "counts": counts})


# Index: primary key.
_PENDING = text("""
SELECT entity_id, reference, generation
  FROM ingest.refresh_request
 WHERE tenant = :tenant
   AND kind = :kind
   AND requested_at < now() - :age
 LIMIT :limit
""")


def pending(connection: Connection, tenant: str, kind: str) -> dict[tuple[int, str], int]:
    """Return the generation of each request of a kind, by its key; a page that is read afterwards may resolve them.

    Requests of the last seconds are left out, because AMPECO may show a change a moment after its notification.
    """
    rows = connection.execute(_PENDING, {"tenant": tenant, "kind": kind, "age": SHOWN_MARGIN, "limit": MAX_PENDING})
    return {(entity_id, reference): generation for entity_id, reference, generation in rows}


# Index: primary key. A request that was made again since it was pending has a later generation, and stays. Rows that
# another transaction has locked are skipped: it resolves, postpones or repeats these requests.
_RESOLVE = text("""
WITH resolved AS MATERIALIZED (
    SELECT request.kind, request.entity_id, request.reference
      FROM ingest.refresh_request AS request
      JOIN json_populate_recordset(NULL::ingest.refresh_request, CAST(:requests AS json)) AS pending
        ON pending.kind = request.kind
       AND pending.entity_id = request.entity_id
       AND pending.reference = request.reference
       AND pending.generation = request.generation
     WHERE request.tenant = :tenant
     ORDER BY request.kind, request.entity_id, request.reference
       FOR UPDATE OF request SKIP LOCKED
)
DELETE FROM ingest.refresh_request AS request
 USING resolved
 WHERE request.tenant = :tenant
   AND request.kind = resolved.kind
   AND request.entity_id = resolved.entity_id
   AND request.reference = resolved.reference
RETURNING request.generation
""")


def resolve(connection: Connection, tenant: str, kind: str, requests: Mapping[tuple[int, str], int]) -> int:
    """Resolve requests that a page of a listing has satisfied, in the transaction that writes the page.

    Parameters:
        requests: the generations of the requests by their keys, as :func:`pending` returned them before the page was
            read.

    Returns:
        How often the resolved reads had been requested.
    """
    if not requests:
        return 0
    document = [
        {"kind": kind, "entity_id": entity_id, "reference": reference, "generation": generation}
        for (entity_id, reference), generation in requests.items()
    ]
    return sum(connection.execute(_RESOLVE, {"tenant": tenant, "requests": to_json(document)}).scalars())


# Index: primary key.
_WAITING = text("""
SELECT entity_id
  FROM ingest.refresh_request
 WHERE tenant = :tenant
   AND kind = :kind
   AND entity_id = ANY(:ids)
""")


def waiting(connection: Connection, tenant: str, kind: str, ids: Collection[int]) -> set[int]:
    """Return those of the entities that have a refresh request."""
    parameters = {"tenant": tenant, "kind": kind, "ids": sorted(ids)}
    return set(connection.execute(_WAITING, parameters).scalars())


_DUE = text(f"""
SELECT DISTINCT tenant
  FROM ingest.refresh_request
 WHERE due_at <= now()
   AND {_CLAIMABLE}
""")  # noqa: S608 - the condition is ours


def due_tenants(connection: Connection) -> list[str]:
    """Return the tenants with requests that are due and that no living process has claimed."""
    return list(connection.execute(_DUE).scalars())
