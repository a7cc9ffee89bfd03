"""Find the finished sessions without meter values, whose consumption is to be read from AMPECO, each once.

A session gets a row when it is found, so that it is not found again. The row waits until the session was read, or was
given up after several failures.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from ampeco.resources.charging import FINAL_SESSION_STATES
from storage.pruning import prune_table

#: How long to wait after each failure; after one more, the session is given up. Together longer than most outages.
RETRY_AFTER = (timedelta(minutes=15), timedelta(hours=2), timedelta(hours=12))

#: How far a search looks back behind the last one: longer than any transaction, and than a tenant's clock is wrong.
OVERLAP = timedelta(hours=1)

_EVER = datetime(1970, 1, 1, tzinfo=UTC)


# Index: session_tenant_started_at_idx, of which all sessions of the time are read; for those that are new since the
# last search the unique constraint of meter_value. LATERAL with LIMIT looks that up row by row, so that Postgres never
# reads all meter values of the tenant.
_REQUEST = text("""
INSERT INTO ingest.consumption_read (tenant, session_id)
SELECT :tenant, session.session_id
  FROM charging.session
  LEFT JOIN LATERAL (
       SELECT true AS is_known
         FROM charging.meter_value
        WHERE meter_value.tenant = :tenant
          AND meter_value.session_id = session.session_id
        LIMIT 1) AS metered ON true
 WHERE session.tenant = :tenant
   AND session.started_at >= :started_after
   AND session.started_at < :stopped_before
   AND session.stopped_at < :stopped_before
   AND (session.stopped_at >= :stopped_since OR session.updated_at >= :changed_since)
   AND session.status = ANY(:final_states)
   AND session.deleted_at IS NULL
   AND session.energy_wh IS DISTINCT FROM 0
   AND metered.is_known IS NULL
    ON CONFLICT DO NOTHING
""")


def request_consumption_reads(
    connection: Connection,
    tenant: str,
    *,
    started_after: datetime,
    stopped_before: datetime,
    last_stopped_before: datetime | None = None,
) -> int:
    """Request a read of each finished session that has no meter values; return how many were found.

    A session without energy is left out, because nothing was consumed.

    Parameters:
        started_after: sessions that started earlier are not found.
        stopped_before: sessions that stopped at this time or later are not found yet.
        last_stopped_before: this parameter of the last search, which found all sessions up to then that have not
            changed since; None: search them all.
    """
    since = _EVER if last_stopped_before is None else last_stopped_before - OVERLAP
    parameters = {
        "tenant": tenant,
        "started_after": started_after,
        "stopped_before": stopped_before,
        "stopped_since": since,
        "changed_since": since,
        "final_states": list(FINAL_SESSION_STATES),
    }
    return connection.execute(_REQUEST, parameters).rowcount


class DueRead(NamedTuple):
    """A session whose consumption is to be read now, and how often that has failed."""

    session_id: int
    failures: int


# Index: consumption_read_due_idx.
_DUE = text("""
SELECT session_id, failures
  FROM ingest.consumption_read
 WHERE tenant = :tenant
   AND finished_at IS NULL
   AND due_at <= now()
 ORDER BY due_at, session_id
 LIMIT :limit
""")


def due_consumption_reads(connection: Connection, tenant: str, *, limit: int) -> list[DueRead]:
    """Return the sessions that are due, the longest due first."""
    return [DueRead(*row) for row in connection.execute(_DUE, {"tenant": tenant, "limit": limit})]


# Index: primary key.
_FINISH = text("""
UPDATE ingest.consumption_read
   SET finished_at = now(),
       points = :points,
       last_error = :error
 WHERE tenant = :tenant
   AND session_id = :session_id
   AND finished_at IS NULL
""")


def finish_consumption_read(
    connection: Connection, tenant: str, session_id: int, *, points: int, error: str | None = None
) -> None:
    """Record that a session was read; call this in the transaction that writes its points.

    Parameters:
        points: how many points could be read.
        error: why others could not be.
    """
    parameters = {"tenant": tenant, "session_id": session_id, "points": points, "error": error}
    connection.execute(_FINISH, parameters)


# Index: primary key.
_POSTPONE = text("""
UPDATE ingest.consumption_read
   SET failures = failures + 1,
       due_at = now() + :delay,
       last_error = :error
 WHERE tenant = :tenant
   AND session_id = :session_id
   AND finished_at IS NULL
""")

# Index: primary key.
_GIVE_UP = text("""
UPDATE ingest.consumption_read
   SET failures = failures + 1,
       finished_at = now(),
       last_error = :error
 WHERE tenant = :tenant
   AND session_id = :session_id
   AND finished_at IS NULL
""")


def fail_consumption_read(connection: Connection, tenant: str, due: DueRead, error: str) -> bool:
    """Postpone a session that could not be read, or give it up; return whether it is given up."""
    parameters = {"tenant": tenant, "session_id": due.session_id, "error": error}
    if due.failures >= len(RETRY_AFTER):
        connection.execute(_GIVE_UP, parameters)
        return True
    connection.execute(_POSTPONE, parameters | {"delay": RETRY_AFTER[due.failures]})
    return False


def prune(connection: Connection, age: timedelta) -> None:
    """Delete the rows of sessions that were found longer ago than ``age``."""
    prune_table(connection, "ingest.consumption_read", "found_at < now() - :age", age)
