"""What is happening now, tenant by tenant: how fast notifications arrive, are applied and are derived."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from storage.clock import clock
from storage.ids import first_made_at

#: Over how long rates and latencies are measured.
WINDOW = timedelta(seconds=60)

#: The number of seconds for the rate, which should follow a burst.
RATE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Activity:
    """What a tenant's notifications do now.

    Attributes:
        received_per_second: over the last ten seconds.
        commit_ms_p50, commit_ms_p99: time from receiving to commit in the last minute; None: nothing was received.
        apply_ms_p50, apply_ms_p99: time from commit to applied in the last minute.
        pending: notifications that are not applied yet.
        apply_lag_seconds: age of the oldest of them; 0 if there is none.
        derive_lag_seconds: age of the oldest change that is to be derived; 0 if there is none.
        refresh_due: reads that are due.
        last_received_at: when the last notification of the last minute was received; None: there was none.
    """

    tenant: str
    received_per_second: float
    commit_ms_p50: int | None
    commit_ms_p99: int | None
    apply_ms_p50: int | None
    apply_ms_p99: int | None
    pending: int
    apply_lag_seconds: float
    derive_lag_seconds: float
    refresh_due: int
    last_received_at: datetime | None


# Indexes: the primary keys of the batches and of the marks; batch_open_idx; the primary key of the requests.
_ACTIVITY = text("""
SELECT name.tenant,
       CAST(coalesce(recent.received, 0) AS float8) / :rate_seconds,
       recent.commit_p50, recent.commit_p99, recent.apply_p50, recent.apply_p99,
       open.pending,
       CAST(greatest(coalesce(extract(epoch FROM now() - open.committed_at), 0), 0) AS float8),
       CAST(greatest(coalesce(extract(epoch FROM now() - mark.marked_at), 0), 0) AS float8),
       due.refresh_due,
       recent.last_received_at
  FROM unnest(CAST(:tenants AS text[])) AS name (tenant)
 CROSS JOIN LATERAL (
       SELECT sum(notifications) FILTER (WHERE committed_at > now() - make_interval(secs => :rate_seconds)) AS received,
              percentile_disc(0.5) WITHIN GROUP (ORDER BY commit_ms) AS commit_p50,
              percentile_disc(0.99) WITHIN GROUP (ORDER BY commit_ms) AS commit_p99,
              percentile_disc(0.5) WITHIN GROUP (ORDER BY apply_ms) AS apply_p50,
              percentile_disc(0.99) WITHIN GROUP (ORDER BY apply_ms) AS apply_p99,
              max(last_received_at) AS last_received_at
         FROM (SELECT notifications, committed_at, last_received_at,
                      CAST(extract(epoch FROM committed_at - first_received_at) * 1000 AS integer) AS commit_ms,
                      CAST(extract(epoch FROM applied_at - committed_at) * 1000 AS integer) AS apply_ms
                 FROM ingest.batch
                WHERE batch.tenant = name.tenant
                  AND batch.batch_id >= :first_batch) AS batch) AS recent
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(notifications), 0) AS pending, min(committed_at) AS committed_at
         FROM ingest.batch
        WHERE batch.tenant = name.tenant
          AND batch.applied_at IS NULL) AS open
 CROSS JOIN LATERAL (
       SELECT count(*) AS refresh_due
         FROM ingest.refresh_request
        WHERE refresh_request.tenant = name.tenant
          AND refresh_request.due_at <= now()) AS due
  LEFT JOIN LATERAL (
       SELECT marked_at
         FROM analytics.dirty
        WHERE dirty.tenant = name.tenant
        ORDER BY dirty_id
        LIMIT 1) AS mark ON true
 ORDER BY name.tenant
""")


def activity(connection: Connection, tenants: Collection[str]) -> list[Activity]:
    """Return the activity of these tenants, in the order of their names."""
    parameters = {
        "tenants": list(tenants),
        "rate_seconds": RATE_SECONDS,
        "first_batch": first_made_at(clock.now() - WINDOW),
    }
    return [Activity(*row) for row in connection.execute(_ACTIVITY, parameters)]
