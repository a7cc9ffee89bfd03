"""Record attempts at claimed batches while they run, and how unsuccessful ones end.

An attempt that does not count leaves only ``failures`` and ``last_error`` behind: a failure of the environment,
such as of the database, is never attributed to a notification.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from storage.inbox.batches import LEASE, MAX_RETRY, MAX_WAIT, Batch

#: The first retry follows after twice this time, the next after four times, and so on.
FIRST_RETRY = timedelta(seconds=0.2)

_NOTE_PROBING = text("""
UPDATE ingest.batch
   SET probing_notification_id = :notification_id, attempts = :attempts, lease_expires_at = now() + :lease
 WHERE tenant = :tenant
   AND batch_id = :batch_id
   AND applied_at IS NULL
""")


def note_probing(connection: Connection, batch: Batch, notification_id: UUID, *, attempts: int) -> None:
    """Record which notification is about to be applied alone; commit before applying it.

    Parameters:
        attempts: the new value of the batch's attempt count.
    """
    connection.execute(
        _NOTE_PROBING,
        {
            "tenant": batch.tenant,
            "batch_id": batch.batch_id,
            "notification_id": notification_id,
            "attempts": attempts,
            "lease": LEASE,
        },
    )


_CLEAR_PROBING = text("""
UPDATE ingest.batch
   SET probing_notification_id = NULL
 WHERE tenant = :tenant
   AND batch_id = :batch_id
   AND applied_at IS NULL
""")


def clear_probing(connection: Connection, batch: Batch) -> None:
    """Clear the record of :func:`note_probing` once the attempt has ended, whatever its outcome."""
    connection.execute(_CLEAR_PROBING, {"tenant": batch.tenant, "batch_id": batch.batch_id})


# No process holds these leases: they express a waiting time, which must not end early when a process ends.
_RETRY_LATER = text("""
UPDATE ingest.batch
   SET lease_expires_at = now() + :after, leased_by = NULL, last_error = :error
 WHERE tenant = :tenant
   AND batch_id = ANY(:batch_ids)
   AND applied_at IS NULL
""")


def retry_later(
    connection: Connection, tenant: str, batch_ids: Sequence[UUID], *, after: timedelta, error: str
) -> None:
    """Leave batches to a later attempt, no sooner than ``after`` from now; the present attempt counts."""
    connection.execute(_RETRY_LATER, {"tenant": tenant, "batch_ids": list(batch_ids), "after": after, "error": error})


_POSTPONE = text("""
WITH postponed AS (
    SELECT batch_id,
           now() + least(
               greatest(least(:first_retry * 2 ^ least(failures + 1, 20), :max_retry), :at_least), :max_wait
           ) AS until_at
      FROM ingest.batch
     WHERE tenant = :tenant
       AND batch_id = ANY(:batch_ids)
       AND applied_at IS NULL
     ORDER BY batch_id
       FOR UPDATE
)
UPDATE ingest.batch
   SET attempts = greatest(attempts - 1, 0),
       probing_notification_id = NULL,
       failures = failures + 1,
       last_error = :error,
       leased_by = NULL,
       lease_expires_at = postponed.until_at
  FROM postponed
 WHERE batch.tenant = :tenant
   AND batch.batch_id = postponed.batch_id
""")


def postpone(
    connection: Connection, tenant: str, batch_ids: Sequence[UUID], *, at_least: timedelta, error: str
) -> None:
    """Leave batches to a later attempt; the present one failed for another reason and does not count.

    Parameters:
        at_least: the shortest time until the next attempt.
        error: what failed, in one line.
    """
    connection.execute(
        _POSTPONE,
        {
            "tenant": tenant,
            "batch_ids": list(batch_ids),
            "error": error,
            "at_least": at_least,
            "first_retry": FIRST_RETRY,
            "max_retry": MAX_RETRY,
            "max_wait": MAX_WAIT,
        },
    )


_RELEASE = text("""
UPDATE ingest.batch
   SET attempts = greatest(attempts - 1, 0), lease_expires_at = NULL, leased_by = NULL
 WHERE tenant = :tenant
   AND batch_id = ANY(:batch_ids)
   AND applied_at IS NULL
""")


def release(connection: Connection, tenant: str, batch_ids: Sequence[UUID]) -> None:
    """Release claimed batches that were not attempted."""
    connection.execute(_RELEASE, {"tenant": tenant, "batch_ids": list(batch_ids)})
