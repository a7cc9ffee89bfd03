"""Record what happened each minute, so that charts of the last days need nothing but this database.

The notifications and times of a minute come from the batches, so a minute that no process recorded in time is recorded
later. What waits is a sample of the moment, which is then missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from storage.ids import first_made_at
from storage.pruning import prune_table

#: How long minutes are kept.
KEPT = timedelta(days=8)

#: Minutes that one call records at most: those of a longer outage have nothing to show.
MAX_MISSED = 60

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Minute:
    """What happened in a minute.

    Attributes:
        minute_at: when it began.
        received: notifications that were committed in it.
        commit_ms_p50, commit_ms_p99: time from receiving to commit, of its batches; None: there was none.
        apply_ms_p50, apply_ms_p99: time from commit to applied.
        pending, refresh_due, derive_ms: what waited at its end; None: it was recorded later.
    """

    tenant: str
    minute_at: datetime
    received: int
    commit_ms_p50: int | None
    commit_ms_p99: int | None
    apply_ms_p50: int | None
    apply_ms_p99: int | None
    pending: int | None
    refresh_due: int | None
    derive_ms: int | None


# Index: primary key, from its end.
_LAST = text("""
SELECT max(minute_at), date_trunc('minute', now(), 'UTC')
  FROM ingest.minute
 WHERE tenant = :tenant
""")

# Indexes: the primary key of the batches, whose ids increase with the time at which they are made; batch_open_idx.
_RECORD = text("""
INSERT INTO ingest.minute
       (tenant, minute_at, received, commit_ms_p50, commit_ms_p99, apply_ms_p50, apply_ms_p99,
        pending, refresh_due, derive_ms)
SELECT :tenant, each.minute_at, coalesce(done.received, 0), done.commit_p50, done.commit_p99, done.apply_p50,
       done.apply_p99, waiting.pending, waiting.refresh_due, waiting.derive_ms
  FROM generate_series(CAST(:first AS timestamptz), CAST(:last AS timestamptz), interval '1 minute') AS each (minute_at)
  LEFT JOIN (
       SELECT date_trunc('minute', committed_at, 'UTC') AS minute_at,
              sum(notifications) AS received,
              percentile_disc(0.5) WITHIN GROUP (ORDER BY commit_ms) AS commit_p50,
              percentile_disc(0.99) WITHIN GROUP (ORDER BY commit_ms) AS commit_p99,
              percentile_disc(0.5) WITHIN GROUP (ORDER BY apply_ms) AS apply_p50,
              percentile_disc(0.99) WITHIN GROUP (ORDER BY apply_ms) AS apply_p99
         FROM (SELECT notifications, committed_at,
                      CAST(extract(epoch FROM committed_at - first_received_at) * 1000 AS integer) AS commit_ms,
                      CAST(extract(epoch FROM applied_at - committed_at) * 1000 AS integer) AS apply_ms
                 FROM ingest.batch
                WHERE tenant = :tenant
                  AND batch_id >= :first_batch
                  AND committed_at >= :first
                  AND committed_at < CAST(:last AS timestamptz) + interval '1 minute') AS batch
        GROUP BY 1) AS done USING (minute_at)
  LEFT JOIN (
       SELECT CAST(:last AS timestamptz) AS minute_at,
              (SELECT coalesce(sum(notifications), 0)
                 FROM ingest.batch
                WHERE tenant = :tenant
                  AND applied_at IS NULL) AS pending,
              (SELECT count(*)
                 FROM ingest.refresh_request
                WHERE tenant = :tenant
                  AND due_at <= now()) AS refresh_due,
              (SELECT CAST(extract(epoch FROM now() - min(marked_at)) * 1000 AS integer)
                 FROM analytics.dirty
                WHERE tenant = :tenant
                  AND marked_at > now() - interval '20 days'
                  AND marked_at < now()) AS derive_ms) AS waiting USING (minute_at)
    ON CONFLICT DO NOTHING
""")


def record(connection: Connection, tenant: str) -> None:
    """Record the minutes of a tenant that are over; any number of processes may do so at the same time."""
    recorded, now = connection.execute(_LAST, {"tenant": tenant}).one()
    last: datetime = now - _MINUTE
    first = last if recorded is None else max(recorded + _MINUTE, last - (MAX_MISSED - 1) * _MINUTE)
    if first > last:
        return
    # A batch gets its id when its first notification waits for the commit, which takes seconds at most.
    first_batch = first_made_at(first - _MINUTE)
    connection.execute(_RECORD, {"tenant": tenant, "first": first, "last": last, "first_batch": first_batch})


# Index: primary key.
_LIST = text("""
SELECT tenant, minute_at, received, commit_ms_p50, commit_ms_p99, apply_ms_p50, apply_ms_p99, pending, refresh_due,
       derive_ms
  FROM ingest.minute
 WHERE tenant = :tenant
   AND minute_at >= now() - :during
 ORDER BY minute_at
""")


def minutes(connection: Connection, tenant: str, during: timedelta) -> Sequence[Minute]:
    """Return the minutes of a tenant in the last ``during``, in order."""
    return [Minute(*row) for row in connection.execute(_LIST, {"tenant": tenant, "during": during})]


def prune(connection: Connection) -> None:
    """Delete the minutes that are too old."""
    prune_table(connection, "ingest.minute", "minute_at < now() - :age", KEPT)
