"""The refresh queue: entities to read from the API, one row for each. Claim rows, finish or postpone them.

Rows are added by :mod:`storage.sync.refresh_requests`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from storage.documents import to_json
from storage.monitoring.processes import lease_ended
from storage.state.changes import ReadReason

#: How long a living process keeps the requests that it claimed, in case a thread hangs; longer than a round of reads
#: may take. Requests of a dead process are free as soon as its death is noticed.
LEASE = timedelta(seconds=180)

#: A read shows a change if it began so long after the time of the change, and shows that time or a later one: times are
#: in whole seconds, and the tenant's clock is known to a second.
SHOWN_MARGIN = timedelta(seconds=5)

#: Most requests that one page of a listing is compared with.
MAX_PENDING = 10_000


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
