"""Track backfills: which extent a person requested, and which of its kinds are already read.

A backfill is one request for every kind of a tenant. Its sync runs carry the time of the request. So a command
that was stopped and is run again reads only the remaining kinds.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

# Index: sync_run_request_idx.
_REQUEST = text("""
SELECT coalesce(max(requested_at), now())
  FROM ingest.sync_run
 WHERE tenant = :tenant
   AND purpose = 'backfill'
   AND changed_since IS NOT DISTINCT FROM :changed_since
   AND requested_at IS NOT NULL
   AND NOT :again
""")


def request(connection: Connection, tenant: str, changed_since: datetime | None, *, again: bool) -> datetime:
    """Return when a backfill was requested, by Postgres's clock: the time that its sync runs carry.

    A command that is run again continues the latest request of the same extent, finished or not.

    Parameters:
        changed_since: the extent: only what changed then or later, by the tenant's clock; None for everything.
        again: make a new request, so that everything is read again.
    """
    parameters = {"tenant": tenant, "changed_since": changed_since, "again": again}
    requested_at: datetime = connection.execute(_REQUEST, parameters).scalar_one()
    return requested_at


# Index: sync_run_request_idx.
_IS_FINISHED = text("""
SELECT EXISTS (
    SELECT FROM ingest.sync_run
     WHERE tenant = :tenant
       AND requested_at = :requested_at
       AND kind = :kind
       AND finished_at IS NOT NULL
)
""")


def is_finished(connection: Connection, tenant: str, kind: str, requested_at: datetime) -> bool:
    """Return whether the sync run of a request through this kind is finished."""
    parameters = {"tenant": tenant, "kind": kind, "requested_at": requested_at}
    return bool(connection.execute(_IS_FINISHED, parameters).scalar_one())
