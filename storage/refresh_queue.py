"""What to read from the API: one row for each entity, however often it is marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from ampeco.kinds import KINDS
from storage.findings import Entity, Findings, Reason
from storage.known import whole_group
from storage.mirrors import MIRRORS

#: How long a worker keeps what it claimed; longer than it may take over it.
LEASE = timedelta(seconds=180)

#: A start or stop notice is most often followed by a session update within a second or
#: two; waiting that long saves the read.
PROVISIONAL_DELAY = timedelta(seconds=5)

#: A tombstoned entity that is spoken of again is looked for this much later, so that one
#: which our token may not see, or that left stragglers behind, is not asked for all the time.
GONE_DELAY = timedelta(minutes=5)

#: The entities that are read one by one; the others come with them.
READABLE = tuple(KINDS)


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """A claimed read.

    Attributes:
        reference: what to look it up by in its listing, where its id is not known; else empty.
        attempts: how often it was claimed, this time included.
    """

    tenant: str
    entity: str
    entity_id: int
    reason: Reason
    generation: int
    attempts: int
    marked_by: UUID | None
    reference: str = ""


# Index: primary key. A mark while a read is under way raises the generation, so that the
# end of that read does not remove it. The stronger reason stays; see findings.Reason.
_MARK = text("""
INSERT INTO ingest.refresh_request AS known (tenant, entity, entity_id, reference, reason, marked_by, due_at)
SELECT :tenant, entity, entity_id, reference, reason, marked_by,
       now() + CASE reason
               WHEN 'provisional' THEN CAST(:provisional_delay AS interval)
               WHEN 'gone' THEN CAST(:gone_delay AS interval)
               ELSE interval '0'
               END
  FROM json_populate_recordset(NULL::ingest.refresh_request, CAST(:marks AS json))
 ORDER BY entity, entity_id, reference
    ON CONFLICT (tenant, entity, entity_id, reference) DO UPDATE SET
       generation = known.generation + 1,
       reason = least(known.reason, excluded.reason),
       marked_by = excluded.marked_by,
       marked_at = now(),
       due_at = CASE WHEN known.attempts = 0 THEN least(known.due_at, excluded.due_at) ELSE known.due_at END
""")


def mark(connection: Connection, tenant: str, findings: Findings, contested: Sequence[Entity]) -> int:
    """Ask for the reads that findings call for; returns how many entities were marked.

    Call it after the upsert, in the same transaction: an entity that is only mentioned
    is marked if its row, or a whole snapshot in it, is missing.
    """
    reasons = _unknown(connection, tenant, findings.mentioned)
    reasons |= findings.wanted
    reasons |= {entity: "contested" for entity in contested if entity.entity in READABLE}
    marks = [_marked(*entity, "", reason, findings.marked_by.get(entity)) for entity, reason in reasons.items()]
    marks += [
        _marked(kind, 0, reference, "changed", marked_by) for (kind, reference), marked_by in findings.referred.items()
    ]
    if not marks:
        return 0
    connection.execute(
        _MARK,
        {
            "tenant": tenant,
            "marks": orjson.dumps(marks).decode(),
            "provisional_delay": PROVISIONAL_DELAY,
            "gone_delay": GONE_DELAY,
        },
    )
    return len(marks)


def _marked(entity: str, entity_id: int, reference: str, reason: Reason, marked_by: UUID | None) -> dict[str, Any]:
    return {
        "entity": entity,
        "entity_id": entity_id,
        "reference": reference,
        "reason": reason,
        "marked_by": marked_by,
    }


def _unknown(connection: Connection, tenant: str, mentioned: set[Entity]) -> dict[Entity, Reason]:
    """Which of the mentioned entities are unknown or known only in part, and which are tombstoned.

    Index: the primary key of each mirrored table.
    """
    unknown: dict[Entity, Reason] = {}
    for name in READABLE:
        ids = [entity_id for entity, entity_id in mentioned if entity == name]
        if not ids:
            continue
        whole = whole_group(name)
        rows = connection.execute(
            text(f"""
                SELECT entity_id, CASE WHEN known.deleted_at IS NULL THEN 'unknown' ELSE 'gone' END
                  FROM unnest(CAST(:ids AS bigint[])) AS mentioned (entity_id)
                  LEFT JOIN {MIRRORS[name].source} AS known
                         ON known.tenant = :tenant
                        AND known.{MIRRORS[name].key} = mentioned.entity_id
                 WHERE known.{whole}_version IS NULL
                    OR known.{whole}_version LIKE '0_0:%'
                    OR known.deleted_at IS NOT NULL
            """),  # noqa: S608 - the names are ours
            {"tenant": tenant, "ids": ids},
        )
        unknown |= {Entity(name, entity_id): reason for entity_id, reason in rows}
    return unknown


# Whether a read is due, in nobody's hands, and of a kind that may be asked for.
_CLAIMABLE = """
           due_at <= now()
       AND (lease_expires_at IS NULL OR lease_expires_at < now())
       AND NOT EXISTS (
           SELECT FROM ingest.refusal
            WHERE refusal.tenant = refresh_request.tenant
              AND refusal.kind = refresh_request.entity
              AND refusal.ask_again_at > now())
"""

# Indexes: refresh_request_tenant_due_at_idx, and the primary key of the few refusals.
_CLAIM = text(f"""
UPDATE ingest.refresh_request
   SET lease_expires_at = now() + :lease, attempts = attempts + 1
 WHERE (tenant, entity, entity_id, reference) IN (
       SELECT tenant, entity, entity_id, reference
         FROM ingest.refresh_request
        WHERE tenant = :tenant
          AND {_CLAIMABLE}
        ORDER BY due_at
        LIMIT :most
          FOR UPDATE SKIP LOCKED)
RETURNING tenant, entity, entity_id, reason, generation, attempts, marked_by, reference
""")  # noqa: S608 - the condition is ours


def claim(connection: Connection, tenant: str, *, most: int) -> list[RefreshRequest]:
    """Take the reads of one tenant that are longest due in hand; commit before reading."""
    rows = connection.execute(_CLAIM, {"tenant": tenant, "most": most, "lease": LEASE})
    return [RefreshRequest(*row) for row in rows]


_FINISH = text("""
WITH finished AS (
    DELETE FROM ingest.refresh_request
     WHERE tenant = :tenant AND entity = :entity AND entity_id = :entity_id AND reference = :reference
       AND generation = :generation
    RETURNING 1
)
UPDATE ingest.refresh_request
   SET lease_expires_at = NULL, attempts = 0, due_at = now(), last_error = NULL
 WHERE tenant = :tenant AND entity = :entity AND entity_id = :entity_id AND reference = :reference
   AND generation <> :generation
""")


def finish(connection: Connection, request: RefreshRequest) -> None:
    """End a read, in the transaction that writes what it found.

    A mark that was made meanwhile is due at once: the read may have begun too early to see it.
    """
    connection.execute(
        _FINISH,
        {
            "tenant": request.tenant,
            "entity": request.entity,
            "entity_id": request.entity_id,
            "reference": request.reference,
            "generation": request.generation,
        },
    )


_POSTPONE = text("""
UPDATE ingest.refresh_request
   SET lease_expires_at = NULL,
       due_at = now() + :delay,
       attempts = CASE WHEN :counts THEN attempts ELSE greatest(attempts - 1, 0) END,
       last_error = :error
 WHERE tenant = :tenant
   AND (entity, entity_id, reference) IN (
       SELECT entity, entity_id, reference
         FROM json_populate_recordset(NULL::ingest.refresh_request, CAST(:requests AS json)))
""")


def postpone(
    connection: Connection,
    tenant: str,
    requests: Sequence[RefreshRequest],
    *,
    delay: timedelta,
    error: str,
    counts: bool,
) -> None:
    """Leave reads for later.

    Parameters:
        delay: how long to wait.
        error: why, for ``status``.
        counts: whether the attempt counts; it does not where the whole tenant is paused.
    """
    entities = [
        {"entity": request.entity, "entity_id": request.entity_id, "reference": request.reference}
        for request in requests
    ]
    connection.execute(
        _POSTPONE,
        {
            "tenant": tenant,
            "requests": orjson.dumps(entities).decode(),
            "delay": delay,
            "error": error,
            "counts": counts,
        },
    )


_DUE = text(f"""
SELECT DISTINCT tenant
  FROM ingest.refresh_request
 WHERE {_CLAIMABLE}
""")  # noqa: S608 - the condition is ours


def due_tenants(connection: Connection) -> list[str]:
    """The tenants that have reads due and in nobody's hands."""
    return list(connection.execute(_DUE).scalars())
