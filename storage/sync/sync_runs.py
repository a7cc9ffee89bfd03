"""Record sync runs through the tenant's listings: their progress and what they found.

A sync run belongs to one kind of one tenant, and at most one of them is unfinished: the process that claims it
continues after its last stored page.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, text

from storage.documents import to_json
from storage.ids import uuid7
from storage.pruning import prune_table
from storage.schema.entities import MIRRORS

Purpose = Literal["backfill", "reconcile"]

#: A living process renews its lease every few seconds, however long a page takes. So the sync run of a killed process
#: is free after this time.
LEASE = timedelta(seconds=15)


@dataclass(slots=True)
class SyncRunStats:
    """What pages of a sync run showed.

    Attributes:
        compared: entities compared.
        missing: entities that were not stored.
        stale: entities that were stored in an older state, with no notification or read of them pending.
        healed: missing and stale entities that are now stored as listed.
        unreadable: listed entities that could not be parsed.
        calls: calls made.
        behind_seconds: age of the oldest missed change, in seconds; None if none was missed.
    """

    compared: int = 0
    missing: int = 0
    stale: int = 0
    healed: int = 0
    unreadable: int = 0
    calls: int = 0
    behind_seconds: float | None = None


@dataclass(slots=True)
class SyncRun:
    """A claimed sync run; times are by the tenant's clock, except ``requested_at``, which is by ours.

    Attributes:
        tenant: the tenant's name.
        sync_run_id: UUIDv7.
        kind: the kind of entity.
        purpose: ``backfill`` or ``reconcile``.
        changed_since: only entities that changed at this time or later; None for all.
        began_at: when the first page was read; None before that.
        following: the query parameters of the next page; None before the first page and after the last.
        pages: how many pages were read.
        requested_at: when the backfill that it belongs to was requested; None if it belongs to none.
        finished: whether the last page was read.
        stats: what its pages showed, as far as this process read them.
    """

    tenant: str
    sync_run_id: UUID
    kind: str
    purpose: Purpose
    changed_since: datetime | None
    began_at: datetime | None
    following: list[tuple[str, str]] | None
    pages: int
    requested_at: datetime | None = None
    finished: bool = False
    stats: SyncRunStats = field(default_factory=SyncRunStats)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a kind is reconciled.

    Attributes:
        changed_until: every change up to this time of the tenant's clock has been read.
        full_seconds_ago: how long ago the last sync run through the complete listing ended; None if none ever did.
        checked_seconds_ago: how long ago the last sync run ended; None if none ever did.
        open_run: the purpose of the unfinished sync run; None if there is none.
        is_busy: whether that sync run cannot be claimed now, because a process has claimed it or it was postponed.
    """

    changed_until: datetime | None
    full_seconds_ago: float | None
    checked_seconds_ago: float | None
    open_run: Purpose | None
    is_busy: bool


# Indexes: primary key; sync_run_open_idx.
_CURSORS = text("""
SELECT tenant, kind, changed_until,
       CAST(extract(epoch FROM now() - full_at) AS float8),
       CAST(extract(epoch FROM now() - checked_at) AS float8),
       run.purpose,
       coalesce(greatest(run.lease_expires_at, run.retry_at) >= now(), false)
  FROM ingest.sync_cursor
  FULL JOIN (SELECT * FROM ingest.sync_run WHERE finished_at IS NULL) AS run USING (tenant, kind)
 WHERE tenant = ANY(:tenants)
""")


def cursors(connection: Connection, tenants: Collection[str]) -> dict[tuple[str, str], Cursor]:
    """Return how far each kind of each tenant is reconciled, by tenant and kind; kinds never synced are left out."""
    rows = connection.execute(_CURSORS, {"tenants": list(tenants)})
    return {(tenant, kind): Cursor(*rest) for tenant, kind, *rest in rows}


# Index: sync_run_open_idx. An unfinished sync run is continued, whichever process began it. If it has the extent of the
# request, it counts for the request, unless it belongs to an earlier one.
_BEGIN = text("""
INSERT INTO ingest.sync_run AS open (tenant, sync_run_id, kind, purpose, changed_since, requested_at, lease_expires_at)
VALUES (:tenant, :sync_run_id, :kind, :purpose, :changed_since, :requested_at, now() + :lease)
    ON CONFLICT (tenant, kind) WHERE finished_at IS NULL DO UPDATE SET
       requested_at = CASE
           WHEN (open.purpose, open.changed_since) IS NOT DISTINCT FROM (excluded.purpose, excluded.changed_since)
           THEN coalesce(open.requested_at, excluded.requested_at)
           ELSE open.requested_at
       END,
       lease_expires_at = excluded.lease_expires_at,
       retry_at = NULL,
       last_error = NULL
 WHERE (open.lease_expires_at IS NULL OR open.lease_expires_at < excluded.started_at)
   AND (open.retry_at IS NULL OR open.retry_at < excluded.started_at OR :at_once)
RETURNING tenant, sync_run_id, kind, purpose, changed_since, began_at, following, pages, requested_at
""")


def begin(
    connection: Connection,
    tenant: str,
    kind: str,
    purpose: Purpose,
    changed_since: datetime | None,
    *,
    requested_at: datetime | None = None,
    at_once: bool = False,
) -> SyncRun | None:
    """Begin a sync run, or claim the unfinished one of this kind.

    Parameters:
        purpose: the purpose of a new sync run.
        changed_since: of a new sync run: only entities that changed at this time of the tenant's clock or later;
            None for all.
        requested_at: when the backfill was requested that the sync run belongs to; see :mod:`storage.sync.backfills`.
        at_once: claim a postponed sync run, too, because a person waits for it.

    Returns:
        None while another process has claimed the sync run or, without ``at_once``, while it is postponed.
    """
    row = connection.execute(
        _BEGIN,
        {
            "tenant": tenant,
            "sync_run_id": uuid7(),
            "kind": kind,
            "purpose": purpose,
            "changed_since": changed_since,
            "requested_at": requested_at,
            "at_once": at_once,
            "lease": LEASE,
        },
    ).first()
    if row is None:
        return None
    following = None if row.following is None else [(name, value) for name, value in row.following]
    return SyncRun(
        tenant=row.tenant,
        sync_run_id=row.sync_run_id,
        kind=row.kind,
        purpose=row.purpose,
        changed_since=row.changed_since,
        began_at=row.began_at,
        following=following,
        pages=row.pages,
        requested_at=row.requested_at,
    )


# Index: primary key. If the sync run was left or finished, or another process has read a page, there is no lease of
# ours to renew.
_RENEW = text("""
UPDATE ingest.sync_run
   SET lease_expires_at = now() + :lease
 WHERE tenant = :tenant
   AND sync_run_id = :sync_run_id
   AND pages = :pages
   AND lease_expires_at IS NOT NULL
""")


def renew(connection: Connection, run: SyncRun) -> None:
    """Renew the lease of a claimed sync run for another ``LEASE``."""
    parameters = {"tenant": run.tenant, "sync_run_id": run.sync_run_id, "pages": run.pages, "lease": LEASE}
    connection.execute(_RENEW, parameters)


# Index: primary key. The number of pages shows whether another process has read a page since.
_MOVE = """
UPDATE ingest.sync_run
   SET {progress},
       began_at = coalesce(began_at, :began_at),
       moved_at = now(),
       pages = pages + 1,
       calls = calls + :calls,
       compared = compared + :compared,
       missing = missing + :missing,
       stale = stale + :stale,
       healed = healed + :healed,
       unreadable = unreadable + :unreadable,
       behind_seconds = greatest(behind_seconds, CAST(:behind_seconds AS numeric))
 WHERE tenant = :tenant
   AND sync_run_id = :sync_run_id
   AND pages = :pages
   AND finished_at IS NULL
RETURNING began_at
"""

_CONTINUE = text(_MOVE.format(progress="following = CAST(:following AS jsonb), lease_expires_at = now() + :lease"))

_FINISH = text(_MOVE.format(progress="following = NULL, lease_expires_at = NULL, finished_at = now()"))

#: A sync run that began so long before the point that an earlier one reached shows that the tenant's clock was set
#: back. Less of it does not matter, because sync runs overlap by as much.
SET_BACK = timedelta(minutes=5)

# Index: primary key. A sync run through a part of the listing moves `changed_until`, but not `full_at`. If its part
# begins later than `changed_until`, it moves neither, because what changed in between was not read. If the tenant's
# clock was set back, its part began in the future, and it is not known which changes that left out: `changed_until` is
# set back, too, and the complete listing is due at once.
_CURSOR = text("""
INSERT INTO ingest.sync_cursor AS known (tenant, kind, changed_until, full_at)
VALUES (:tenant, :kind, :began_at, CASE WHEN CAST(:changed_since AS timestamptz) IS NULL THEN now() END)
    ON CONFLICT (tenant, kind) DO UPDATE SET
       changed_until = CASE
           WHEN excluded.changed_until < known.changed_until - CAST(:set_back AS interval) THEN excluded.changed_until
           WHEN coalesce(CAST(:changed_since AS timestamptz) > known.changed_until, false) THEN known.changed_until
           ELSE greatest(known.changed_until, excluded.changed_until)
       END,
       full_at = CASE
           WHEN excluded.changed_until < known.changed_until - CAST(:set_back AS interval)
           THEN coalesce(excluded.full_at, to_timestamp(0))
           ELSE greatest(known.full_at, excluded.full_at)
       END,
       checked_at = excluded.checked_at
""")


def move(
    connection: Connection,
    run: SyncRun,
    stats: SyncRunStats,
    *,
    began_at: datetime,
    following: list[tuple[str, str]] | None,
) -> bool:
    """Record a page, in the transaction that writes what it showed; the last page finishes the sync run.

    Parameters:
        stats: what the page showed.
        began_at: when the page was requested, by the tenant's clock.
        following: the query parameters of the next page; None after the last.

    Returns:
        False if another process has continued the sync run: leave it to that process.
    """
    progress = {} if following is None else {"following": to_json(following), "lease": LEASE}
    row = connection.execute(
        _FINISH if following is None else _CONTINUE,
        {
            **progress,
            "tenant": run.tenant,
            "sync_run_id": run.sync_run_id,
            "pages": run.pages,
            "began_at": began_at,
            "calls": stats.calls,
            "compared": stats.compared,
            "missing": stats.missing,
            "stale": stats.stale,
            "healed": stats.healed,
            "unreadable": stats.unreadable,
            "behind_seconds": stats.behind_seconds,
        },
    ).first()
    if row is None:
        return False
    run.began_at, run.following, run.finished = row.began_at, following, following is None
    run.pages += 1
    if run.finished:
        connection.execute(
            _CURSOR,
            {
                "tenant": run.tenant,
                "kind": run.kind,
                "began_at": run.began_at,
                "changed_since": run.changed_since,
                "set_back": SET_BACK,
            },
        )
    return True


# Index: primary key.
_LEAVE = text("""
UPDATE ingest.sync_run
   SET lease_expires_at = NULL, retry_at = now() + :delay, last_error = :error
 WHERE tenant = :tenant
   AND sync_run_id = :sync_run_id
   AND pages = :pages
   AND finished_at IS NULL
""")


def leave(connection: Connection, run: SyncRun, *, delay: timedelta | None = None, error: str | None = None) -> None:
    """End the claim of an unfinished sync run, so that any process may continue it.

    Parameters:
        delay: postpone it for this time, because its listing cannot be read before; None: it may be claimed now.
        error: why it is postponed.
    """
    connection.execute(
        _LEAVE,
        {"tenant": run.tenant, "sync_run_id": run.sync_run_id, "pages": run.pages, "delay": delay, "error": error},
    )


# Index: primary key.
_START_OVER = text("""
UPDATE ingest.sync_run
   SET following = NULL
 WHERE tenant = :tenant
   AND sync_run_id = :sync_run_id
   AND pages = :pages
   AND finished_at IS NULL
""")


def start_over(connection: Connection, run: SyncRun) -> None:
    """Let an unfinished sync run continue at the first page of its listing."""
    connection.execute(_START_OVER, {"tenant": run.tenant, "sync_run_id": run.sync_run_id, "pages": run.pages})


def prune(connection: Connection, age: timedelta) -> None:
    """Delete the records of sync runs that ended longer ago than ``age``."""
    prune_table(connection, "ingest.sync_run", "finished_at < now() - :age", age)


def stored(connection: Connection, tenant: str, kind: str) -> int:
    """Return how many entities of a kind are stored without a tombstone. This reads all rows of the kind."""
    source = MIRRORS[kind].rows()
    statement = text(f"SELECT count(*) FROM {source} AS known WHERE deleted_at IS NULL")  # noqa: S608 - the names are ours
    return int(connection.execute(statement, {"tenant": tenant}).scalar_one())


# Index: primary key.
_WITHOUT_PROGRESS = text("""
SELECT now() - moved_at
  FROM ingest.sync_run
 WHERE tenant = :tenant
   AND sync_run_id = :sync_run_id
""")


def time_without_progress(connection: Connection, run: SyncRun) -> timedelta:
    """Return how long ago the last page of a sync run was stored, or the sync run was made."""
    parameters = {"tenant": run.tenant, "sync_run_id": run.sync_run_id}
    found: timedelta | None = connection.execute(_WITHOUT_PROGRESS, parameters).scalar()
    return found or timedelta(0)
