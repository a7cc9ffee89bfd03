"""Sync runs through the tenant's listings: how far each has come, and what it found.

A sync run belongs to one kind of one tenant, and there is never more than one that is not
finished: whoever takes it in hand goes on from its last stored page.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, text

from storage.documents import to_json
from storage.ids import uuid7
from storage.mirrors import MIRRORS
from storage.stored import snapshot_group
from storage.sync_run_pages import LISTED_IDS, prune_listed

Purpose = Literal["backfill", "reconcile"]

#: A process that is alive renews its lease every few seconds, however long a page takes; so the sync run
#: of one that was killed is free this soon.
LEASE = timedelta(seconds=15)

#: Each costs a call. A listing that shows nothing at all, as in an hour of trouble at AMPECO, is not
#: to ask for the whole fleet one by one.
MAX_ABSENT = 1_000


@dataclass(slots=True)
class SyncRunStats:
    """What pages of a sync run showed.

    Attributes:
        compared: entities listed.
        missing: those that we did not know.
        stale: those of which we knew an older state, with nothing under way to mend it.
        healed: missing and stale ones that are as listed now.
        unreadable: listed, and not to be understood.
        calls: calls made.
        behind_seconds: age of the oldest missed change; None where none was missed.
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
    """A sync run in hand; times are by the tenant's clock, but for ``requested_at``, which is by ours."""

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
        changed_until: every change up to then, by the tenant's clock, has been read.
        full_seconds_ago: how long ago the last sync run through the whole listing ended.
        checked_seconds_ago: how long ago the last sync run ended.
        open_run: the purpose of an unfinished sync run; None where there is none.
        is_busy: whether that sync run is not to be taken up now: a process has it in hand, or it was put off.
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
    """How far each kind of each tenant is reconciled; what was never synced has no entry."""
    rows = connection.execute(_CURSORS, {"tenants": list(tenants)})
    return {(tenant, kind): Cursor(*rest) for tenant, kind, *rest in rows}


# Index: sync_run_open_idx. A sync run that is not finished is taken up where it stands, whichever process began it.
# One that reads what a request asks for counts for the request, unless it belongs to an earlier one.
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
 WHERE (open.lease_expires_at IS NULL OR open.lease_expires_at < now())
   AND (open.retry_at IS NULL OR open.retry_at < now() OR :at_once)
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
    """Begin a sync run, or take up the unfinished one of this kind.

    Parameters:
        changed_since: only what changed then or later, by the tenant's clock; None for everything.
        requested_at: of the request that the sync run belongs to; see :mod:`storage.backfills`.
        at_once: take up a sync run that was put off, too, as for a person who waits for it.

    Returns:
        None while another process has the sync run in hand or, without ``at_once``, while it is put off.
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


# Index: primary key. A sync run that was left, moved on or finished has no lease of ours to renew.
_RENEW = text("""
UPDATE ingest.sync_run
   SET lease_expires_at = now() + :lease
 WHERE tenant = :tenant
   AND sync_run_id = :sync_run_id
   AND pages = :pages
   AND lease_expires_at IS NOT NULL
""")


def renew(connection: Connection, run: SyncRun) -> None:
    """Keep a sync run in hand for another ``LEASE``."""
    parameters = {"tenant": run.tenant, "sync_run_id": run.sync_run_id, "pages": run.pages, "lease": LEASE}
    connection.execute(_RENEW, parameters)


# Index: primary key. The count of pages tells whether another process moved on meanwhile.
_MOVE = text("""
UPDATE ingest.sync_run
   SET following = CAST(:following AS jsonb),
       began_at = coalesce(began_at, :began_at),
       moved_at = now(),
       finished_at = CASE WHEN CAST(:following AS jsonb) IS NULL THEN now() END,
       lease_expires_at = CASE WHEN CAST(:following AS jsonb) IS NULL THEN NULL ELSE now() + :lease END,
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
""")

# Index: primary key. A sync run through less than everything moves the cursor, but is no whole sync run.
_CURSOR = text("""
INSERT INTO ingest.sync_cursor AS known (tenant, kind, changed_until, full_at)
VALUES (:tenant, :kind, :began_at, CASE WHEN CAST(:changed_since AS timestamptz) IS NULL THEN now() END)
    ON CONFLICT (tenant, kind) DO UPDATE SET
       changed_until = greatest(known.changed_until, excluded.changed_until),
       full_at = greatest(known.full_at, excluded.full_at),
       checked_at = now()
""")


def move(
    connection: Connection,
    run: SyncRun,
    stats: SyncRunStats,
    *,
    began_at: datetime,
    following: list[tuple[str, str]] | None,
) -> bool:
    """Note a page, in the transaction that writes what it showed; after the last one the sync run is finished.

    Parameters:
        began_at: when the page was asked for, by the tenant's clock.
        following: the query of the next page; None after the last.

    Returns:
        False where another process has moved the sync run on meanwhile: leave it.
    """
    row = connection.execute(
        _MOVE,
        {
            "tenant": run.tenant,
            "sync_run_id": run.sync_run_id,
            "pages": run.pages,
            "following": None if following is None else to_json(following),
            "began_at": began_at,
            "lease": LEASE,
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
    """Leave a sync run to whichever process comes next.

    Parameters:
        delay: put it off for so long, as its listing cannot be read before; None: it may be taken up now.
        error: why it was put off.
    """
    connection.execute(
        _LEAVE,
        {"tenant": run.tenant, "sync_run_id": run.sync_run_id, "pages": run.pages, "delay": delay, "error": error},
    )


def note_absent(connection: Connection, run: SyncRun) -> int:
    """After a sync run through a whole listing: ask for a read of each entity that we know and it did not show.

    A 404 then makes the tombstone. Index: the mirrored table's primary key, read whole.

    Returns:
        How many they are; of more than ``MAX_ABSENT`` the others are left to the next sync run.
    """
    mirror = MIRRORS[run.kind]
    parameters: dict[str, Any] = {
        "tenant": run.tenant,
        "kind": run.kind,
        "sync_run_id": run.sync_run_id,
        "began_at": run.began_at,
        "run_started_at": _started_at(connection, run),
        "limit": MAX_ABSENT,
    }
    result = connection.execute(
        text(f"""
            WITH absent AS (
                INSERT INTO ingest.refresh_request AS known (tenant, kind, entity_id, reason)
                SELECT :tenant, :kind, {mirror.key}, 'changed'
                  FROM charging.{mirror.name} AS known
                 WHERE {mirror.matches("known")}
                   AND deleted_at IS NULL
                   AND coalesce(presence_at, '-infinity') < :began_at
                   AND coalesce({snapshot_group(run.kind)}_at, '-infinity') < :began_at
                   AND first_seen_at < :run_started_at
                   AND NOT EXISTS (SELECT FROM {LISTED_IDS} AS listed WHERE listed.entity_id = known.{mirror.key})
                 ORDER BY {mirror.key}
                 LIMIT :limit
                    ON CONFLICT DO NOTHING
                RETURNING 1
            )
            UPDATE ingest.sync_run
               SET absent = (SELECT count(*) FROM absent)
             WHERE tenant = :tenant
               AND sync_run_id = :sync_run_id
            RETURNING absent
        """),  # noqa: S608 - the names are ours
        parameters,
    )
    absent = int(result.scalar_one())
    prune_listed(connection, run.tenant, run.sync_run_id)
    return absent


def _started_at(connection: Connection, run: SyncRun) -> datetime:
    statement = text("SELECT started_at FROM ingest.sync_run WHERE tenant = :tenant AND sync_run_id = :sync_run_id")
    started_at: datetime = connection.execute(
        statement, {"tenant": run.tenant, "sync_run_id": run.sync_run_id}
    ).scalar_one()
    return started_at


# Index: batch_open_idx.
_UNDER_WAY = text("""
SELECT min(first_received_at)
  FROM ingest.batch
 WHERE applied_at IS NULL
   AND tenant = :tenant
""")


def oldest_under_way(connection: Connection, tenant: str) -> datetime | None:
    """When the oldest notification that is not applied yet came in; None where all are."""
    received_at: datetime | None = connection.execute(_UNDER_WAY, {"tenant": tenant}).scalar_one()
    return received_at


# Index: primary key, read whole.
_PRUNE = text("DELETE FROM ingest.sync_run WHERE finished_at < now() - :age")


def prune(connection: Connection, age: timedelta) -> None:
    """Drop the records of sync runs that ended longer ago than ``age``."""
    connection.execute(_PRUNE, {"age": age})


def stored(connection: Connection, tenant: str, kind: str) -> int:
    """How many entities of a kind are stored and not deleted. The mirrored table is read whole."""
    statement = text(f"SELECT count(*) FROM {MIRRORS[kind].rows()} AS known WHERE deleted_at IS NULL")  # noqa: S608 - ours
    return int(connection.execute(statement, {"tenant": tenant}).scalar_one())
