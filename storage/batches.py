"""The work side of the inbox: which batches are open, and how far each has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, text

from ampeco.values import Instant
from storage.documents import to_json
from storage.processes import lease_ended

#: How long a living worker keeps what it claimed. What one held that died is free as soon as that is noticed.
LEASE = timedelta(seconds=30)

#: A batch that failed through no fault of its own is tried again after this long at most: whatever is wrong may be
#: right again at any moment.
MAX_RETRY = timedelta(seconds=5)

#: Attempts that take long are made as much more rarely; no batch waits longer than this for the next one.
MAX_WAIT = timedelta(minutes=5)

_INSTANT = TypeAdapter(Instant)


@dataclass(frozen=True, slots=True)
class Batch:
    """A claimed batch.

    ``attempts`` counts this claim too; ``probing_notification_id`` names the notification that was being
    tried alone when the worker before us ended. ``failures`` counts the attempts in a row that
    failed through no fault of its notifications; they are not in ``attempts``.
    """

    tenant: str
    batch_id: UUID
    first_received_at: datetime
    last_received_at: datetime
    attempts: int
    probing_notification_id: UUID | None
    failures: int


@dataclass(frozen=True, slots=True)
class Logged:
    """A notification as the log holds it; ``sent`` is its header X-Timestamp, whatever is in it."""

    batch_id: UUID
    notification_id: UUID
    received_at: datetime
    body: bytes
    sent: str | None = None

    @property
    def learnt_at(self) -> datetime:
        """When it came: by our clock or by the tenant's, whichever is later, as either may be behind."""
        try:
            return max(self.received_at, _INSTANT.validate_python(self.sent))
        except ValidationError:
            return self.received_at


@dataclass(frozen=True, slots=True)
class Outcome:
    """Why a notification was set aside."""

    batch_id: UUID
    notification_id: UUID
    received_at: datetime
    state: Literal["ignored", "failed"]
    reason: str
    error: str | None = None
    traceback: str | None = None


# Whether an open batch may be claimed. A lease further ahead than any is given comes from before Postgres's clock
# was set back.
_FREE = f"""
       applied_at IS NULL
   AND ({lease_ended("batch")} OR lease_expires_at > now() + :max_lease)
"""

# Index: batch_open_idx. UUIDv7 sorts by time, so the oldest come first. Only one tenant's
# batches are claimed together, so that what one tenant sends holds up no other.
_CLAIM = text(f"""
WITH oldest AS (
    SELECT tenant
      FROM ingest.batch
     WHERE {_FREE}
     ORDER BY batch_id
     LIMIT 1
), open AS (
    SELECT batch.tenant, batch.batch_id, batch.notifications, batch.body_bytes
      FROM ingest.batch
      JOIN oldest USING (tenant)
     WHERE {_FREE}
     ORDER BY batch_id
     LIMIT :max_batches
       FOR UPDATE OF batch SKIP LOCKED
), chunk AS (
    SELECT tenant,
           batch_id,
           sum(notifications) OVER (ORDER BY batch_id) - notifications AS notifications_before,
           sum(body_bytes) OVER (ORDER BY batch_id) - body_bytes AS bytes_before
      FROM open
)
UPDATE ingest.batch
   SET attempts = attempts + 1,
       lease_expires_at = now() + :lease,
       leased_by = (SELECT process_id FROM ingest.process WHERE process_id = :holder)
  FROM chunk
 WHERE batch.tenant = chunk.tenant
   AND batch.batch_id = chunk.batch_id
   AND chunk.notifications_before < :max_notifications
   AND chunk.bytes_before < :max_bytes
RETURNING batch.tenant, batch.batch_id, first_received_at, last_received_at, attempts, probing_notification_id, failures
""")  # noqa: S608 - the condition is ours


def claim(
    connection: Connection, *, max_batches: int, max_notifications: int, max_bytes: int, holder: UUID | None = None
) -> list[Batch]:
    """Take the oldest open batches of one tenant in hand, and count the attempt.

    Commit before the work: an attempt that kills its worker must have been counted.

    Parameters:
        holder: this process, with whose end the claim ends too; None where it is not registered.
    """
    rows = connection.execute(
        _CLAIM,
        {
            "max_batches": max_batches,
            "max_notifications": max_notifications,
            "max_bytes": max_bytes,
            "lease": LEASE,
            "max_lease": MAX_WAIT,
            "holder": holder,
        },
    )
    return sorted((Batch(*row) for row in rows), key=lambda batch: batch.batch_id)


_LOCK_ROWS = text("""
SELECT batch_id
  FROM ingest.batch
 WHERE tenant = :tenant
   AND batch_id = ANY(:batch_ids)
   AND applied_at IS NULL
 ORDER BY batch_id
   FOR UPDATE
""")


def lock_batches(connection: Connection, tenant: str, batch_ids: Sequence[UUID]) -> set[UUID]:
    """Lock claimed batches for the transaction, leaving out those that were closed meanwhile.

    It waits for a lock that another holds: somebody who is claiming looks at our batches
    for a moment, and to skip them then would leave them leased to nobody.
    """
    found = connection.execute(_LOCK_ROWS, {"tenant": tenant, "batch_ids": list(batch_ids)})
    return set(found.scalars())


# Index: notification_tenant_batch_id_idx, in the partitions of the batches' times alone.
# Notifications that a former attempt set aside stay aside.
_READ = text("""
SELECT batch_id, notification_id, received_at, body, headers ->> 'X-Timestamp'
  FROM ingest.notification
 WHERE tenant = :tenant
   AND batch_id = ANY(:batch_ids)
   AND received_at BETWEEN :first_received_at AND :last_received_at
   AND NOT EXISTS (
       SELECT FROM ingest.outcome
        WHERE outcome.tenant = notification.tenant
          AND outcome.notification_id = notification.notification_id)
 ORDER BY notification_id
""")


def notifications_of(connection: Connection, batches: Sequence[Batch]) -> list[Logged]:
    """The notifications of one tenant's batches that are not settled yet, in order of arrival."""
    rows = connection.execute(
        _READ,
        {
            "tenant": batches[0].tenant,
            "batch_ids": [batch.batch_id for batch in batches],
            "first_received_at": min(batch.first_received_at for batch in batches),
            "last_received_at": max(batch.last_received_at for batch in batches),
        },
    )
    return [Logged(*row) for row in rows]


# What is set aside again for the same reason stays as it was. Index: primary key.
_RECORD_OUTCOMES = text("""
INSERT INTO ingest.outcome AS known (
       tenant, notification_id, batch_id, received_at, state, reason, error, traceback)
SELECT :tenant, notification_id, batch_id, received_at, state, reason, error, traceback
  FROM json_populate_recordset(NULL::ingest.outcome, CAST(:outcomes AS json))
 ORDER BY notification_id
    ON CONFLICT (tenant, notification_id) DO UPDATE SET
       state = excluded.state,
       reason = excluded.reason,
       error = excluded.error,
       traceback = excluded.traceback,
       recorded_at = excluded.recorded_at
 WHERE (known.state, known.reason, known.error, known.traceback)
       IS DISTINCT FROM (excluded.state, excluded.reason, excluded.error, excluded.traceback)
""")


def record_outcomes(connection: Connection, tenant: str, outcomes: Sequence[Outcome]) -> None:
    """Record the notifications that were not applied."""
    if outcomes:
        document = to_json(list(outcomes))
        connection.execute(_RECORD_OUTCOMES, {"tenant": tenant, "outcomes": document})


# Index: primary keys. The total's row is locked last, and until the commit that follows at once.
_CLOSE = text("""
WITH closed AS (
    UPDATE ingest.batch
       SET applied_at = now(),
           lease_expires_at = NULL,
           leased_by = NULL,
           probing_notification_id = NULL,
           failures = 0,
           last_error = NULL
     WHERE tenant = :tenant
       AND batch_id = ANY(:batch_ids)
       AND applied_at IS NULL
    RETURNING notifications
)
INSERT INTO ingest.total AS known (tenant, closed)
SELECT :tenant, coalesce(sum(notifications), 0)
  FROM closed
    ON CONFLICT (tenant) DO UPDATE SET closed = known.closed + excluded.closed
""")


def close(connection: Connection, tenant: str, batch_ids: Sequence[UUID]) -> None:
    """Close batches, in the transaction that settles their notifications."""
    connection.execute(_CLOSE, {"tenant": tenant, "batch_ids": list(batch_ids)})


# Index: batch_open_idx. Marking and choosing are one statement, so that several sweeps
# side by side send each batch once. Times ahead of now are from before Postgres's clock was set back.
_OVERDUE = text(f"""
WITH chosen AS MATERIALIZED (
    SELECT tenant, batch_id
      FROM ingest.batch
     WHERE {_FREE}
       AND coalesce(sent_at, committed_at) NOT BETWEEN
           now() - CASE WHEN failures = 0 THEN :age ELSE least(:age, :max_retry) END AND now()
     ORDER BY batch_id
     LIMIT :limit
       FOR UPDATE SKIP LOCKED
)
UPDATE ingest.batch
   SET sent_at = now()
  FROM chosen
 WHERE batch.tenant = chosen.tenant
   AND batch.batch_id = chosen.batch_id
RETURNING batch.batch_id
""")  # noqa: S608 - the condition is ours


def overdue(connection: Connection, *, age: timedelta, limit: int) -> list[UUID]:
    """Return batches that are open longer than ``age``, or were put off, and are free; each once per ``age``."""
    parameters = {"age": age, "limit": limit, "max_retry": MAX_RETRY, "max_lease": MAX_WAIT}
    rows: Any = connection.execute(_OVERDUE, parameters)
    return sorted(rows.scalars())
