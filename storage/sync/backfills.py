"""Track backfills: which extent a person requested, and which of its kinds are already read.

A backfill is one request for every kind of a tenant. Its sync runs carry the time of the request. So a command
that was stopped and is run again reads only the remaining kinds.
"""

from __future__ import annotations

from datetime import datetime, timedelta

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


#: A backfill is under way if one of its pages was stored within this time. It waits for no longer than this between two
#: pages, unless the tenant is paused.
MOVING = timedelta(minutes=2)

# Indexes: sync_run_request_idx, sync_run_open_idx. The latest request is the one that a command works on.
_WILL_LIST = text("""
SELECT EXISTS (
    SELECT FROM ingest.sync_run
     WHERE tenant = :tenant
       AND kind = :kind
       AND finished_at IS NULL
       AND changed_since IS NULL
       AND moved_at > now() - :moving)
    OR EXISTS (
    SELECT FROM ingest.sync_run AS latest
     WHERE latest.tenant = :tenant
       AND latest.requested_at = (
           SELECT max(requested_at)
             FROM ingest.sync_run
            WHERE tenant = :tenant
              AND requested_at IS NOT NULL)
       AND latest.moved_at > now() - :moving
       AND NOT EXISTS (
           SELECT FROM ingest.sync_run AS finished
            WHERE finished.tenant = :tenant
              AND finished.requested_at = latest.requested_at
              AND finished.kind = :kind
              AND finished.finished_at IS NOT NULL))
""")


def will_list(connection: Connection, tenant: str, kind: str) -> bool:
    """Return whether a process is about to list a kind: by a complete sync run, or by a backfill of all kinds."""
    parameters = {"tenant": tenant, "kind": kind, "moving": MOVING}
    return bool(connection.execute(_WILL_LIST, parameters).scalar_one())


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
