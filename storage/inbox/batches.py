"""Work through the inbox: claim open batches, read their notifications, record outcomes and close the batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, text

from ampeco.values import Instant
from storage.documents import to_json
from storage.ids import made_at
from storage.monitoring.processes import lease_ended

#: How long a living worker keeps the batches that it claimed. Batches of a dead worker are free as soon as its
#: death is noticed.
LEASE = timedelta(seconds=30)

#: A batch whose attempt failed for a reason outside its notifications is retried after this time at most: the
#: reason may disappear at any moment.
MAX_RETRY = timedelta(seconds=5)

#: The longer an attempt takes, the longer its batches wait for the next one, but never longer than this.
MAX_WAIT = timedelta(minutes=5)

_INSTANT = TypeAdapter(Instant)


#: What becomes of a notification that is not applied.
OutcomeState = Literal["ignored", "failed"]


@dataclass(frozen=True, slots=True)
class Batch:
    """A claimed batch.

    Attributes:
        committed_at: when its notifications were committed to the log.
        attempts: how often the batch was claimed, this claim included.
        probing_notification_id: the notification that the previous worker was applying alone when it ended.
        failures: attempts in a row that failed for a reason outside its notifications; ``attempts`` does not
            include them.
    """

    tenant: str
    batch_id: UUID
    committed_at: datetime
    first_received_at: datetime
    last_received_at: datetime
    attempts: int
    probing_notification_id: UUID | None
    failures: int


@dataclass(frozen=True, slots=True)
class LoggedBody:
    """The body of a notification in the log, and what applying it needs; ``sent`` is X-Timestamp, valid or not."""

    batch_id: UUID
    notification_id: UUID
    received_at: datetime
    body: bytes
    sent: str | None = None

    @property
    def arrived_at(self) -> datetime:
        """When the notification arrived: the later of our clock and X-Timestamp, because either may run slow."""
        try:
            return max(self.received_at, _INSTANT.validate_python(self.sent))
        except ValidationError:
            return self.received_at


@dataclass(frozen=True, slots=True)
class Outcome:
    """The record that a notification was not applied, and why."""

    batch_id: UUID
    notification_id: UUID
    received_at: datetime
    state: OutcomeState
    reason: str
    error: str | None = None
    traceback: str | None = None


# Whether a batch is open and may be claimed. A lease that ends later than any valid lease could was granted before
# Postgres's clock was set back.
_FREE = f"""
       applied_at IS NULL
   AND ({lease_ended("batch")} OR lease_expires_at > now() + :max_lease)
"""

# Index: batch_open_idx. UUIDv7 sorts by time, so the oldest come first.
_NEXT_TENANT = text(f"""
SELECT tenant
  FROM ingest.batch
 WHERE {_FREE}
 ORDER BY batch_id
 LIMIT 1
""")  # noqa: S608 - the condition is ours

# Index: batch_open_idx.
_WAITS = text(f"""
SELECT EXISTS (
       SELECT FROM ingest.batch
        WHERE tenant = :tenant
          AND {_FREE}
          AND committed_at < now() - CAST(:age AS interval))
""")  # noqa: S608 - the condition is ours


def waits(connection: Connection, tenant: str, age: timedelta) -> bool:
    """Return whether a batch of a tenant has waited for longer than some time, and no worker has claimed it."""
    parameters = {"tenant": tenant, "age": age, "max_lease": MAX_WAIT}
    return bool(connection.execute(_WAITS, parameters).scalar_one())


# Index: batch_open_idx.
_OLDEST_RECEIVED = text("""
SELECT min(first_received_at)
  FROM ingest.batch
 WHERE applied_at IS NULL
   AND tenant = :tenant
""")


def oldest_pending_received_at(connection: Connection, tenant: str) -> datetime | None:
    """Return when the oldest notification of the open batches was received; None if no batch is open."""
    received_at: datetime | None = connection.execute(_OLDEST_RECEIVED, {"tenant": tenant}).scalar_one()
    return received_at


# Index: batch_open_idx.
_CLAIM = text(f"""
WITH open AS (
    SELECT batch_id, notifications, body_bytes
      FROM ingest.batch
     WHERE tenant = :tenant
       AND {_FREE}
     ORDER BY batch_id
     LIMIT :max_batches
       FOR UPDATE SKIP LOCKED
), chunk AS (
    SELECT batch_id,
           sum(notifications) OVER (ORDER BY batch_id) - notifications AS notifications_before,
           sum(body_bytes) OVER (ORDER BY batch_id) - body_bytes AS bytes_before
      FROM open
)
UPDATE ingest.batch
   SET attempts = attempts + 1,
       lease_expires_at = now() + :lease,
       leased_by = (SELECT process_id FROM ingest.process WHERE process_id = :holder)
  FROM chunk
 WHERE batch.tenant = :tenant
   AND batch.batch_id = chunk.batch_id
   AND chunk.notifications_before < :max_notifications
   AND chunk.bytes_before < :max_bytes
RETURNING batch.tenant, batch.batch_id, committed_at, first_received_at, last_received_at, attempts,
          probing_notification_id, failures
""")  # noqa: S608 - the condition is ours


def claim(
    connection: Connection, *, max_batches: int, max_notifications: int, max_bytes: int, holder: UUID | None = None
) -> list[Batch]:
    """Claim the oldest open batches of one tenant, and count the attempt.

    The tenant is that of the oldest open batch. A claim takes batches of one tenant only, so that the notifications
    of one tenant do not delay those of another, and so that it concerns one shard of a distributed database. Commit
    before applying them, so that an attempt that kills its worker is counted.

    Parameters:
        max_batches: the most batches to claim.
        max_notifications: claim no further batch once this many notifications are claimed.
        max_bytes: claim no further batch once bodies of this many bytes are claimed.
        holder: this process; the claim ends with it. None if the process is not registered.
    """
    tenant = connection.execute(_NEXT_TENANT, {"max_lease": MAX_WAIT}).scalar()
    if tenant is None:
        return []
    rows = connection.execute(
        _CLAIM,
        {
            "tenant": tenant,
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
    """Lock claimed batches until the transaction ends, and return those that are still open.

    Wait for locked rows instead of skipping them: a process that claims locks our batches for a moment, and
    batches that we skipped then would stay leased although no process works on them.
    """
    rows = connection.execute(_LOCK_ROWS, {"tenant": tenant, "batch_ids": list(batch_ids)})
    return set(rows.scalars())


# Index: notification_tenant_batch_id_idx, only in the partitions of the batches' times.
# A notification that has an outcome from an earlier attempt is not applied again.
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


def notifications_of(connection: Connection, batches: Sequence[Batch]) -> list[LoggedBody]:
    """Return the notifications of one tenant's batches that have no outcome yet, in order of arrival."""
    rows = connection.execute(
        _READ,
        {
            "tenant": batches[0].tenant,
            "batch_ids": [batch.batch_id for batch in batches],
            "first_received_at": min(batch.first_received_at for batch in batches),
            "last_received_at": max(batch.last_received_at for batch in batches),
        },
    )
    return [LoggedBody(*row) for row in rows.all()]


# Indexes: primary keys. The time part of the id is the time of receipt, to a millisecond.
_LOGGED = text("""
SELECT batch_id, notification_id, received_at
  FROM ingest.notification
 WHERE tenant = :tenant
   AND notification_id = :notification_id
   AND received_at BETWEEN :made_at - interval '1 second' AND :made_at + interval '1 second'
   AND NOT EXISTS (
       SELECT FROM ingest.outcome
        WHERE outcome.tenant = :tenant
          AND outcome.notification_id = :notification_id)
""")


def record_failure(connection: Connection, tenant: str, notification_id: UUID, *, reason: str, error: str) -> None:
    """Record that an applied notification failed after all; call this last in a transaction, as it locks the totals.

    Nothing is recorded if the log no longer contains the notification, or if it has an outcome already.
    """
    parameters = {"tenant": tenant, "notification_id": notification_id, "made_at": made_at(notification_id)}
    row = connection.execute(_LOGGED, parameters).first()
    if row is not None:
        batch_id, _, received_at = row
        outcome = Outcome(batch_id, notification_id, received_at, "failed", reason, error)
        record_outcomes(connection, tenant, [outcome])


# Index: primary keys. The totals are counted here only if no row has to be changed: their row is locked last.
_ADD_OUTCOMES = text("""
WITH added AS (
    INSERT INTO ingest.outcome (tenant, notification_id, batch_id, received_at, state, reason, error, traceback)
    SELECT :tenant, notification_id, batch_id, received_at, state, reason, error, traceback
      FROM json_populate_recordset(NULL::ingest.outcome, CAST(:outcomes AS json))
     ORDER BY notification_id
        ON CONFLICT DO NOTHING
    RETURNING state
), counted AS (
    SELECT count(*) AS outcomes,
           count(*) FILTER (WHERE state = 'ignored') AS ignored,
           count(*) FILTER (WHERE state = 'failed') AS failed
      FROM added
), total AS (
    INSERT INTO ingest.total AS known (tenant, ignored, failed)
    SELECT :tenant, ignored, failed
      FROM counted
     WHERE outcomes = :recorded
        ON CONFLICT (tenant) DO UPDATE SET
           ignored = known.ignored + excluded.ignored,
           failed = known.failed + excluded.failed
)
SELECT outcomes, ignored, failed
  FROM counted
""")

# Index: primary keys. A repeated outcome with the same content leaves the row unchanged.
_CHANGE_OUTCOMES = text("""
WITH former AS (
    SELECT notification_id, outcome.state
      FROM ingest.outcome
      JOIN json_populate_recordset(NULL::ingest.outcome, CAST(:outcomes AS json)) AS recorded USING (notification_id)
     WHERE outcome.tenant = :tenant
       AND (outcome.state, outcome.reason, outcome.error, outcome.traceback)
           IS DISTINCT FROM (recorded.state, recorded.reason, recorded.error, recorded.traceback)
     ORDER BY notification_id
       FOR UPDATE OF outcome
), changed AS (
    UPDATE ingest.outcome
       SET state = recorded.state,
           reason = recorded.reason,
           error = recorded.error,
           traceback = recorded.traceback,
           recorded_at = now()
      FROM former
      JOIN json_populate_recordset(NULL::ingest.outcome, CAST(:outcomes AS json)) AS recorded USING (notification_id)
     WHERE outcome.tenant = :tenant
       AND outcome.notification_id = former.notification_id
    RETURNING former.state AS former, outcome.state
), difference AS (
    SELECT :ignored + count(*) FILTER (WHERE state = 'ignored') - count(*) FILTER (WHERE former = 'ignored') AS ignored,
           :failed + count(*) FILTER (WHERE state = 'failed') - count(*) FILTER (WHERE former = 'failed') AS failed
      FROM changed
)
INSERT INTO ingest.total AS known (tenant, ignored, failed)
SELECT :tenant, ignored, failed
  FROM difference
 WHERE ignored <> 0 OR failed <> 0
    ON CONFLICT (tenant) DO UPDATE SET
       ignored = known.ignored + excluded.ignored,
       failed = known.failed + excluded.failed
""")


def record_outcomes(connection: Connection, tenant: str, outcomes: Sequence[Outcome]) -> None:
    """Record the notifications that were not applied, and count them in the tenant's totals.

    Rows that exist already are changed by a second statement: only a statement that begins after the first one has
    waited for them sees what other transactions made of them.
    """
    if not outcomes:
        return
    parameters = {"tenant": tenant, "outcomes": to_json(list(outcomes))}
    added = connection.execute(_ADD_OUTCOMES, parameters | {"recorded": len(outcomes)}).one()
    if added.outcomes < len(outcomes):
        counted = {"ignored": added.ignored, "failed": added.failed}
        connection.execute(_CHANGE_OUTCOMES, parameters | counted)


# Index: primary keys. The row of totals is locked last, and the commit that releases it follows soon.
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
    """Close batches, in the transaction that applies their notifications or records their outcomes."""
    connection.execute(_CLOSE, {"tenant": tenant, "batch_ids": list(batch_ids)})


# Whether a free batch waits for a wake-up. A time later than now was written before Postgres's clock was set back.
_IS_OVERDUE = f"""
       {_FREE}
   AND coalesce(sent_at, committed_at) NOT BETWEEN
       now() - CASE WHEN failures = 0 THEN :age ELSE least(:age, :max_retry) END AND now()
"""

# Index: batch_open_idx.
_OVERDUE = text(f"""
SELECT tenant, batch_id
  FROM ingest.batch
 WHERE {_IS_OVERDUE}
 ORDER BY batch_id
 LIMIT :limit
""")  # noqa: S608 - the condition is ours

# Index: primary key. The condition is checked again while the row is locked, so that several sweeps at the same time
# send each batch once.
_SEND = text(f"""
WITH chosen AS MATERIALIZED (
    SELECT batch_id
      FROM ingest.batch
     WHERE tenant = :tenant
       AND batch_id = ANY(:batch_ids)
       AND {_IS_OVERDUE}
     ORDER BY batch_id
       FOR UPDATE SKIP LOCKED
)
UPDATE ingest.batch
   SET sent_at = now()
  FROM chosen
 WHERE batch.tenant = :tenant
   AND batch.batch_id = chosen.batch_id
RETURNING batch.batch_id
""")  # noqa: S608 - the condition is ours


def overdue(connection: Connection, *, age: timedelta, limit: int) -> list[UUID]:
    """Return the free batches that are open for longer than ``age``, or are due for a retry; each once per ``age``.

    Parameters:
        age: how long a batch may be open before it is returned, and how long until it is returned again.
        limit: the most batches to return.
    """
    parameters = {"age": age, "limit": limit, "max_retry": MAX_RETRY, "max_lease": MAX_WAIT}
    by_tenant: dict[str, list[UUID]] = {}
    for tenant, batch_id in connection.execute(_OVERDUE, parameters):
        by_tenant.setdefault(tenant, []).append(batch_id)
    sent: list[UUID] = []
    for tenant, batch_ids in by_tenant.items():
        sent += connection.execute(_SEND, parameters | {"tenant": tenant, "batch_ids": batch_ids}).scalars()
    return sorted(sent)
