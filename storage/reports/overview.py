"""Count what is pending, what failed and what waits to be read, for status displays and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, TextClause, text

from storage.state.unknown_fields import count_unknown_names


@dataclass(frozen=True, slots=True)
class TenantOverview:
    """Counts of one tenant.

    Attributes:
        tenant: the tenant's name.
        applied, pending, ignored, failed: notifications by state.
        oldest_pending_seconds: age of the oldest open batch, in seconds; None if none is open.
        pending_reason: why the last attempt at the oldest open batch with an unsuccessful attempt did not finish.
        refresh_waiting: refresh requests.
        refresh_due: refresh requests that are due now, without those of forbidden kinds.
        refresh_troubled: refresh requests that their last read did not resolve.
        unknown_names: types and fields that AMPECO sends and this release does not know, and fields with
            values that it cannot read.
    """

    tenant: str
    applied: int = 0
    pending: int = 0
    ignored: int = 0
    failed: int = 0
    oldest_pending_seconds: float | None = None
    pending_reason: str | None = None
    refresh_waiting: int = 0
    refresh_due: int = 0
    refresh_troubled: int = 0
    unknown_names: int = 0


# Index: batch_open_idx. The totals of closed batches are one row for each tenant, however many there are; all open
# batches and all refresh requests are read.
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
               WHERE due_at <= now() AND (tenant, kind) NOT IN (SELECT tenant, kind FROM ingest.inaccessible_kind)
           ) AS due,
           count(*) FILTER (WHERE last_error IS NOT NULL) AS troubled
      FROM ingest.refresh_request
     GROUP BY tenant
)
SELECT tenant,
       coalesce(closed, 0) - coalesce(ignored, 0) - coalesce(failed, 0) AS applied,
       coalesce(pending, 0) AS pending,
       coalesce(ignored, 0) AS ignored,
       coalesce(failed, 0) AS failed,
       oldest,
       pending_reason,
       coalesce(waiting, 0) AS waiting,
       coalesce(due, 0) AS due,
       coalesce(troubled, 0) AS troubled
  FROM batches
  FULL JOIN ingest.total USING (tenant)
  FULL JOIN refreshes USING (tenant)
""")


def overview(connection: Connection, tenants: list[str]) -> list[TenantOverview]:
    """Return the counts of all configured tenants, and of other tenants that have data in the inbox."""
    names = count_unknown_names(connection)
    without_data = {tenant: TenantOverview(tenant, unknown_names=names[tenant]) for tenant in tenants}
    with_data = {
        row.tenant: TenantOverview(
            tenant=row.tenant,
            applied=max(int(row.applied), 0),
            pending=int(row.pending),
            ignored=int(row.ignored),
            failed=int(row.failed),
            oldest_pending_seconds=None if row.oldest is None else float(row.oldest),
            pending_reason=row.pending_reason,
            refresh_waiting=int(row.waiting),
            refresh_due=int(row.due),
            refresh_troubled=int(row.troubled),
            unknown_names=names[row.tenant],
        )
        for row in connection.execute(_OVERVIEW)
    }
    return [overview for _, overview in sorted((without_data | with_data).items())]


def _ages(table: str, written_at: str, number: str) -> TextClause:
    """Return the statement of the age of each tenant's oldest row in a queue. Index: primary key."""
    return text(f"""
SELECT tenant, CAST(greatest(extract(epoch FROM now() - {written_at}), 0) AS float8)
  FROM unnest(CAST(:tenants AS text[])) AS configured (tenant)
 CROSS JOIN LATERAL (
       SELECT {written_at}
         FROM analytics.{table}
        WHERE {table}.tenant = configured.tenant
        ORDER BY {number}
        LIMIT 1) AS oldest
""")  # noqa: S608 - the names are the ones below


_OLDEST_MARKS = _ages("dirty", "marked_at", "dirty_id")
_OLDEST_FINDINGS = _ages("finding_due", "noted_at", "due_id")


def seconds_underived(connection: Connection, tenants: Sequence[str]) -> dict[str, float]:
    """Return the age of each tenant's oldest change that is not derived yet, in seconds; 0 if all are derived."""
    return _seconds(connection, _OLDEST_MARKS, tenants)


def seconds_unevaluated(connection: Connection, tenants: Sequence[str]) -> dict[str, float]:
    """Return for how many seconds each tenant's oldest derived change has waited for its findings; 0 if none has."""
    return _seconds(connection, _OLDEST_FINDINGS, tenants)


def _seconds(connection: Connection, ages: TextClause, tenants: Sequence[str]) -> dict[str, float]:
    rows = connection.execute(ages, {"tenants": list(tenants)})
    return dict.fromkeys(tenants, 0.0) | {tenant: age for tenant, age in rows}  # noqa: C416 - a result is no mapping


@dataclass(frozen=True, slots=True)
class OldestPending:
    """The open batches of all tenants.

    Attributes:
        seconds: age of the oldest open batch, in seconds; None if none is open.
        reason: why the last attempt at the oldest open batch with an unsuccessful attempt did not finish, in one
            line; None if there is no such batch.
        batches: how many batches are open.
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
    """Return the age of the oldest open batch, how many are open, and why the last attempt failed."""
    seconds, reason, batches = connection.execute(_OLDEST_PENDING).one()
    return OldestPending(None if seconds is None else float(seconds), reason, batches)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One cause of failed notifications or unresolved refresh requests, and how often it occurred."""

    tenant: str
    what: str
    reason: str
    count: int


#: The most failures that are examined, the newest first.
MAX_FAILURES = 10_000

# Index: outcome_state_recorded_at_idx; all refresh requests are read.
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
   AND (tenant, kind) NOT IN (SELECT tenant, kind FROM ingest.inaccessible_kind)
 GROUP BY 1, 2, 3
 ORDER BY times DESC
 LIMIT :limit
""")


def troubles(connection: Connection, *, limit: int = 10) -> list[Trouble]:
    """Return the most frequent causes among the newest failures and the unresolved refresh requests."""
    rows = connection.execute(_TROUBLES, {"limit": limit, "max_failures": MAX_FAILURES})
    return [Trouble(*row) for row in rows]


# Index: outcome_state_recorded_at_idx.
_NEWLY_FAILED = text("""
SELECT tenant, count(*)
  FROM ingest.outcome
 WHERE state = 'failed'
   AND recorded_at > now() - :age
 GROUP BY tenant
""")


def newly_failed(connection: Connection, age: timedelta) -> dict[str, int]:
    """Return how many notifications of each tenant failed within ``age`` and were not applied since."""
    return {tenant: count for tenant, count in connection.execute(_NEWLY_FAILED, {"age": age})}  # noqa: C416 - a result is no mapping
