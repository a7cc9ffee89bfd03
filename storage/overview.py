"""How things stand: what is pending, what failed, what waits to be read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection, text

from storage.unknown_fields import unknown


@dataclass(frozen=True, slots=True)
class TenantOverview:
    """Counts of one tenant.

    Attributes:
        applied, pending, ignored, failed: notifications by state.
        oldest_pending_seconds: age of the oldest open batch; None where none is open.
        pending_reason: why the last attempt at the oldest of those that were tried in vain did not finish.
        refresh_waiting: entities that want a read; ``refresh_due`` of them now, without those
            whose kind the tenant's token may not read.
        refresh_troubled: those whose last read did not settle them.
        unknown_names: types and fields that AMPECO sends and this release does not know, and fields with
            values that it cannot read.
    """

    tenant: str
    applied: int
    pending: int
    ignored: int
    failed: int
    oldest_pending_seconds: float | None
    pending_reason: str | None
    refresh_waiting: int
    refresh_due: int
    refresh_troubled: int
    unknown_names: int


# Index: batch_open_idx. What is settled is one row for each tenant, however much it is; what is open and
# what waits is read whole.
_OVERVIEW = text("""
WITH batches AS (
    SELECT tenant,
           sum(notifications) AS pending,
           max(greatest(extract(epoch FROM now() - committed_at), 0)) AS oldest,
           (array_agg(last_error ORDER BY batch_id) FILTER (WHERE last_error IS NOT NULL))[1] AS pending_reason
      FROM ingest.batch
     WHERE applied_at IS NULL
     GROUP BY tenant
), refreshes AS (
    SELECT tenant,
           count(*) AS waiting,
           count(*) FILTER (
               WHERE due_at <= now() AND (tenant, kind) NOT IN (SELECT tenant, kind FROM ingest.forbidden_kind)
           ) AS due,
           count(*) FILTER (WHERE last_error IS NOT NULL) AS troubled
      FROM ingest.refresh_request
     GROUP BY tenant
)
SELECT tenant,
       coalesce(closed, 0) - coalesce(ignored, 0) - coalesce(failed, 0),
       coalesce(pending, 0),
       coalesce(ignored, 0),
       coalesce(failed, 0),
       oldest,
       pending_reason,
       coalesce(waiting, 0),
       coalesce(due, 0),
       coalesce(troubled, 0)
  FROM unnest(CAST(:tenants AS text[])) AS configured (tenant)
  FULL JOIN batches USING (tenant)
  FULL JOIN ingest.total USING (tenant)
  FULL JOIN refreshes USING (tenant)
 ORDER BY tenant
""")


def overview(connection: Connection, tenants: list[str]) -> list[TenantOverview]:
    """The counts of every tenant that is configured or has left something behind."""
    names = Counter(one.tenant for one in unknown(connection))
    rows = connection.execute(_OVERVIEW, {"tenants": tenants})
    return [
        TenantOverview(
            tenant,
            max(int(applied), 0),
            int(pending),
            int(ignored),
            int(failed),
            None if oldest is None else float(oldest),
            reason,
            int(waiting),
            int(due),
            int(troubled),
            names[tenant],
        )
        for tenant, applied, pending, ignored, failed, oldest, reason, waiting, due, troubled in rows
    ]


@dataclass(frozen=True, slots=True)
class OldestPending:
    """What waits longest to be applied, of all tenants.

    Attributes:
        seconds: age of the oldest open batch; None where none is open.
        reason: why the last attempt at the oldest of those that were tried in vain did not finish, in one
            line; None where none was tried in vain.
        batches: how many are open.
    """

    seconds: float | None
    reason: str | None
    batches: int


# Index: batch_open_idx.
_OLDEST_PENDING = text("""
SELECT max(greatest(extract(epoch FROM now() - committed_at), 0)),
       (SELECT last_error
          FROM ingest.batch
         WHERE applied_at IS NULL
           AND last_error IS NOT NULL
         ORDER BY batch_id
         LIMIT 1),
       count(*)
  FROM ingest.batch
 WHERE applied_at IS NULL
""")


def oldest_pending(connection: Connection) -> OldestPending:
    """Return the age of the oldest open batch, and why what was tried in vain still waits."""
    seconds, reason, batches = connection.execute(_OLDEST_PENDING).one()
    return OldestPending(None if seconds is None else float(seconds), reason, batches)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why notifications were set aside, or reads did not settle: one cause and how often."""

    tenant: str
    what: str
    reason: str
    count: int


#: Of more failures than this the newest are looked at: they tell what is wrong.
MAX_FAILURES = 10_000

# Index: outcome_state_recorded_at_idx; what waits is read whole.
_TROUBLES = text("""
SELECT tenant, state, concat_ws(': ', nullif(newest.reason, ''), left(newest.error, 120)) AS why, count(*) AS times
  FROM (SELECT tenant, state, reason, error
          FROM ingest.outcome
         WHERE state = 'failed'
         ORDER BY recorded_at DESC
         LIMIT :max_failures) AS newest
 GROUP BY tenant, state, why
 UNION ALL
SELECT tenant, 'unread ' || kind, left(last_error, 120), count(*)
  FROM ingest.refresh_request
 WHERE last_error IS NOT NULL
   AND (tenant, kind) NOT IN (SELECT tenant, kind FROM ingest.forbidden_kind)
 GROUP BY 1, 2, 3
 ORDER BY times DESC
 LIMIT :limit
""")


def troubles(connection: Connection, *, limit: int = 10) -> list[Trouble]:
    """The commonest causes of failure, of the newest failures."""
    rows = connection.execute(_TROUBLES, {"limit": limit, "max_failures": MAX_FAILURES})
    return [Trouble(*row) for row in rows]
