"""What to read from the API: one row for each entity, however often it is marked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from ampeco.kinds import KINDS
from storage.changes import ChangeSet, Entity, Reason
from storage.documents import to_json
from storage.mirrors import MIRRORS
from storage.processes import lease_ended
from storage.stored import snapshot_group
from storage.version import is_provisional_sql

#: How long a living process keeps what it claimed, for a thread that hangs; longer than a round of
#: reads may take. What a process held that died is free as soon as that is noticed.
LEASE = timedelta(seconds=180)

#: A start or stop notice is most often followed by a session update within a second or
#: two; waiting that long saves the read.
PROVISIONAL_DELAY = timedelta(seconds=5)

#: What changed is read with whatever else of its kind changes in this time, by one listing.
#: It is a good part of the minute that a row may be behind its tenant, and no more.
CHANGED_DELAY = timedelta(seconds=15)

#: A tombstoned entity that is spoken of again is looked for this much later, so that one
#: which our token may not see, or that left stragglers behind, is not asked for all the time.
GONE_DELAY = timedelta(minutes=5)

#: The entities that have a read of their own; the others come with them.
READABLE = tuple(KINDS)

#: Statuses before all else: of EVSEs, then of charge points. Then sessions, the rest of the fleet, and
#: what is settled later. A running session and a faulted EVSE go before all of them, with 0.
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
    """A claimed read.

    Attributes:
        generation: the marks since the last read.
        attempts: how often it was claimed, this time included.
        requested_at: when it was first asked for since the last read.
        leased_until: when the lease ends that this claim gave; no other claim of it has the same.
        reference: what to look it up by in its listing, where its id is not known; else empty.
    """

    tenant: str
    kind: str
    entity_id: int
    reason: Reason
    generation: int
    attempts: int
    requested_at: datetime
    requested_by: UUID | None
    leased_until: datetime
    reference: str = ""

    @property
    def key(self) -> tuple[int, str]:
        """What tells it from the other reads of its kind."""
        return self.entity_id, self.reference


# Index: primary key, here and of the mirrored tables. A mark while a read is under way raises
# the generation, so that the end of that read does not remove it. The stronger reason
# stays; see findings.Reason.
_REQUEST = text("""
INSERT INTO ingest.refresh_request AS known (
       tenant, kind, entity_id, reference, reason, requested_by, priority, due_at)
SELECT :tenant, kind, entity_id, reference, reason, requested_by,
       CASE
       WHEN kind = 'session' AND EXISTS (
            SELECT FROM charging.session
             WHERE session.tenant = :tenant
               AND session.session_id = wanted.entity_id
               AND session.stopped_at IS NULL) THEN 0
       WHEN kind = 'evse' AND EXISTS (
            SELECT FROM charging.evse
             WHERE evse.tenant = :tenant
               AND evse.evse_id = wanted.entity_id
               AND evse.hardware_status = 'faulted') THEN 0
       ELSE wanted.priority
       END,
       now() + CASE reason
               WHEN 'provisional' THEN CAST(:provisional_delay AS interval)
               WHEN 'changed' THEN CAST(:changed_delay AS interval)
               WHEN 'gone' THEN CAST(:gone_delay AS interval)
               ELSE interval '0'
               END
  FROM json_populate_recordset(NULL::ingest.refresh_request, CAST(:wanted AS json)) AS wanted
 ORDER BY kind, entity_id, reference
    ON CONFLICT (tenant, kind, entity_id, reference) DO UPDATE SET
       generation = known.generation + 1,
       reason = least(known.reason, excluded.reason),
       priority = least(known.priority, excluded.priority),
       requested_by = excluded.requested_by,
       due_at = CASE WHEN known.attempts = 0 THEN least(known.due_at, excluded.due_at) ELSE known.due_at END
""")


def request_refresh(connection: Connection, tenant: str, changes: ChangeSet, conflicting: Sequence[Entity]) -> int:
    """Ask for the reads that findings call for; returns how many entities were marked.

    Call it after the upsert, in the same transaction: an entity that is only mentioned
    is marked if its row, or a whole snapshot in it, is missing.
    """
    reasons = _unknown(connection, tenant, changes.reads_if_unknown)
    reasons |= changes.required_reads
    reasons |= {entity: "conflicting" for entity in conflicting if entity.kind in READABLE}
    wanted = [_row(*entity, "", reason, changes.requested_by.get(entity)) for entity, reason in reasons.items()]
    wanted += [
        _row(kind, 0, reference, "changed", requested_by) for (kind, reference), requested_by in changes.lookups.items()
    ]
    if not wanted:
        return 0
    connection.execute(
        _REQUEST,
        {
            "tenant": tenant,
            "wanted": to_json(wanted),
            "provisional_delay": PROVISIONAL_DELAY,
            "changed_delay": CHANGED_DELAY,
            "gone_delay": GONE_DELAY,
        },
    )
    return len(wanted)


def _row(kind: str, entity_id: int, reference: str, reason: Reason, requested_by: UUID | None) -> dict[str, Any]:
    return {
        "kind": kind,
        "entity_id": entity_id,
        "reference": reference,
        "reason": reason,
        "priority": _PRIORITIES[kind],
        "requested_by": requested_by,
    }


def _unknown(connection: Connection, tenant: str, mentioned: set[Entity]) -> dict[Entity, Reason]:
    """Which of the mentioned entities are unknown or known only in part, and which are tombstoned.

    Index: the primary key of each mirrored table.
    """
    unknown: dict[Entity, Reason] = {}
    by_kind: dict[str, list[int]] = {}
    for name, entity_id in mentioned:
        by_kind.setdefault(name, []).append(entity_id)
    for name, ids in sorted(by_kind.items()):
        mirror, snapshot = MIRRORS[name], snapshot_group(name)
        rows = connection.execute(
            text(f"""
                SELECT entity_id, CASE WHEN known.deleted_at IS NULL THEN 'unknown' ELSE 'gone' END
                  FROM unnest(CAST(:ids AS bigint[])) AS mentioned (entity_id)
                  LEFT JOIN charging.{mirror.name} AS known
                         ON {mirror.matches("known")}
                        AND known.{mirror.key} = mentioned.entity_id
                 WHERE known.{snapshot}_version IS NULL
                    OR {is_provisional_sql(f"known.{snapshot}_version")}
                    OR known.deleted_at IS NOT NULL
            """),  # noqa: S608 - the names are ours
            {"tenant": tenant, "ids": ids},
        )
        unknown |= {Entity(name, entity_id): reason for entity_id, reason in rows}
    return unknown


# Whether no living process has a read in hand, and its kind may be asked for.
_CLAIMABLE = f"""
       {lease_ended("refresh_request")}
   AND NOT EXISTS (
       SELECT FROM ingest.forbidden_kind
        WHERE forbidden_kind.tenant = refresh_request.tenant
          AND forbidden_kind.kind = refresh_request.kind
          AND forbidden_kind.ask_again_at > now())
"""

# Indexes: refresh_request_tenant_due_at_idx, then the primary keys of the reads, of the few
# refusals and of the few processes. Whatever waits of the most urgent kind comes along, due or not,
# as one listing reads it all; what failed before, or was gone, keeps its time. What is chosen is
# locked once, whatever the plan, so that it is never more than was asked for. A process that is not
# registered is named as no holder: its lease would be over at once.
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
    """Take in hand the reads of a tenant's most urgent kind, most urgent first; commit before reading.

    Parameters:
        limit: how many at most.
        holder: this process, with whose end the claim ends too; None where it is not registered.
    """
    parameters = {"tenant": tenant, "limit": limit, "lease": LEASE, "holder": holder}
    rows = sorted(connection.execute(_CLAIM, parameters), key=lambda row: (row.priority, row.due_at))
    return [RefreshRequest(*row[:10]) for row in rows]


#: The reads that are still in the hands of the claim that names them. One that lost its lease leaves
#: alone what another has claimed since, and what was finished and then marked once more.
_CLAIMED = """
       request.tenant = :tenant
   AND request.kind = claimed.kind
   AND request.entity_id = claimed.entity_id
   AND request.reference = claimed.reference
   AND request.lease_expires_at = claimed.lease_expires_at
"""

_REQUESTS = "json_populate_recordset(NULL::ingest.refresh_request, CAST(:requests AS json)) AS claimed"

# Index: primary key. In key order, as marks lock them. A mark that another transaction is making is
# waited for here: only a statement that begins afterwards sees what it did.
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
    """End reads, in the transaction that writes what they found.

    A mark that was made since the claim is due at once: the read may have begun too early to see it.
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
    """Leave reads for later.

    Parameters:
        delay: how long to wait.
        error: why, for ``status``; None where it is no trouble of theirs.
        counts: whether the attempt counts; it does not where the whole tenant is paused.
    """
    parameters = {"tenant": tenant, "requests": _document(requests)}
    connection.execute(_LOCK_ROWS, parameters)
    connection.execute(_POSTPONE, parameters | {"delay": delay, "error": error, "counts": counts})


# Index: primary key.
_WAITING = text("""
SELECT entity_id
  FROM ingest.refresh_request
 WHERE tenant = :tenant
   AND kind = :kind
   AND entity_id = ANY(:ids)
""")


def waiting(connection: Connection, tenant: str, kind: str, ids: Collection[int]) -> set[int]:
    """Which of these entities wait for a read already."""
    parameters = {"tenant": tenant, "kind": kind, "ids": sorted(ids)}
    return set(connection.execute(_WAITING, parameters).scalars())


_DUE = text(f"""
SELECT DISTINCT tenant
  FROM ingest.refresh_request
 WHERE due_at <= now()
   AND {_CLAIMABLE}
""")  # noqa: S608 - the condition is ours


def due_tenants(connection: Connection) -> list[str]:
    """Return the tenants that have reads due which no living process has in hand."""
    return list(connection.execute(_DUE).scalars())
