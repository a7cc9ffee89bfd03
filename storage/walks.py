"""Walks through the tenant's listings: how far each has come, and what it found.

A walk belongs to one kind of one tenant, and there is never more than one that is not
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
from storage.known import whole_group
from storage.mirrors import MIRRORS
from storage.walk_pages import LISTED_IDS, forget_listed

Purpose = Literal["backfill", "reconcile"]

#: A process that is alive renews its lease every few seconds, however long a page takes; so the walk
#: of one that was killed is free this soon.
LEASE = timedelta(seconds=15)

#: Each costs a call. A listing that shows nothing at all, as in an hour of trouble at AMPECO, is not
#: to ask for the whole fleet one by one.
MOST_ABSENT = 1_000


@dataclass(slots=True)
class Found:
    """What pages of a walk showed.

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
class Walk:
    """A walk in hand; times are by the tenant's clock, but for ``requested_at``, which is by ours."""

    tenant: str
    walk_id: UUID
    kind: str
    purpose: Purpose
    changed_since: datetime | None
    began_at: datetime | None
    following: list[tuple[str, str]] | None
    pages: int
    requested_at: datetime | None = None
    finished: bool = False
    found: Found = field(default_factory=Found)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a kind is reconciled.

    Attributes:
        changed_until: every change up to then, by the tenant's clock, has been read.
        whole_seconds_ago: how long ago the last walk through the whole listing ended.
        checked_seconds_ago: how long ago the last walk ended.
        open_walk: the purpose of an unfinished walk; None where there is none.
        is_busy: whether that walk is not to be taken up now: a process has it in hand, or it was put off.
    """

    changed_until: datetime | None
    whole_seconds_ago: float | None
    checked_seconds_ago: float | None
    open_walk: Purpose | None
    is_busy: bool


# Indexes: primary key; walk_open_idx.
_CURSORS = text("""
SELECT tenant, kind, changed_until,
       CAST(extract(epoch FROM now() - whole_at) AS float8),
       CAST(extract(epoch FROM now() - checked_at) AS float8),
       walk.purpose,
       coalesce(greatest(walk.lease_expires_at, walk.retry_at) >= now(), false)
  FROM ingest.sync_cursor
  FULL JOIN (SELECT * FROM ingest.walk WHERE finished_at IS NULL) AS walk USING (tenant, kind)
 WHERE tenant = ANY(:tenants)
""")


def cursors(connection: Connection, tenants: Collection[str]) -> dict[tuple[str, str], Cursor]:
    """How far each kind of each tenant is reconciled; what was never walked has no entry."""
    rows = connection.execute(_CURSORS, {"tenants": list(tenants)})
    return {(tenant, kind): Cursor(*rest) for tenant, kind, *rest in rows}


# Index: walk_open_idx. A walk that is not finished is taken up where it stands, whichever process began it.
# One that reads what a request asks for counts for the request, unless it belongs to an earlier one.
_BEGIN = text("""
INSERT INTO ingest.walk AS open (tenant, walk_id, kind, purpose, changed_since, requested_at, lease_expires_at)
VALUES (:tenant, :walk_id, :kind, :purpose, :changed_since, :requested_at, now() + :lease)
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
RETURNING tenant, walk_id, kind, purpose, changed_since, began_at, following, pages, requested_at
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
) -> Walk | None:
    """Begin a walk, or take up the unfinished one of this kind.

    Parameters:
        changed_since: only what changed then or later, by the tenant's clock; None for everything.
        requested_at: of the request that the walk belongs to; see :mod:`storage.backfills`.
        at_once: take up a walk that was put off, too, as for a person who waits for it.

    Returns:
        None while another process has the walk in hand or, without ``at_once``, while it is put off.
    """
    row = connection.execute(
        _BEGIN,
        {
            "tenant": tenant,
            "walk_id": uuid7(),
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
    return Walk(
        tenant=row.tenant,
        walk_id=row.walk_id,
        kind=row.kind,
        purpose=row.purpose,
        changed_since=row.changed_since,
        began_at=row.began_at,
        following=following,
        pages=row.pages,
        requested_at=row.requested_at,
    )


# Index: primary key. A walk that was left, moved on or finished has no lease of ours to renew.
_RENEW = text("""
UPDATE ingest.walk
   SET lease_expires_at = now() + :lease
 WHERE tenant = :tenant
   AND walk_id = :walk_id
   AND pages = :pages
   AND lease_expires_at IS NOT NULL
""")


def renew(connection: Connection, walk: Walk) -> None:
    """Keep a walk in hand for another ``LEASE``."""
    parameters = {"tenant": walk.tenant, "walk_id": walk.walk_id, "pages": walk.pages, "lease": LEASE}
    connection.execute(_RENEW, parameters)


# Index: primary key. The count of pages tells whether another process moved on meanwhile.
_MOVE = text("""
UPDATE ingest.walk
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
   AND walk_id = :walk_id
   AND pages = :pages
   AND finished_at IS NULL
RETURNING began_at
""")

# Index: primary key. A walk through less than everything moves the cursor, but is no whole walk.
_CURSOR = text("""
INSERT INTO ingest.sync_cursor AS known (tenant, kind, changed_until, whole_at)
VALUES (:tenant, :kind, :began_at, CASE WHEN CAST(:changed_since AS timestamptz) IS NULL THEN now() END)
    ON CONFLICT (tenant, kind) DO UPDATE SET
       changed_until = greatest(known.changed_until, excluded.changed_until),
       whole_at = greatest(known.whole_at, excluded.whole_at),
       checked_at = now()
""")


def move(
    connection: Connection,
    walk: Walk,
    found: Found,
    *,
    began_at: datetime,
    following: list[tuple[str, str]] | None,
) -> bool:
    """Note a page, in the transaction that writes what it showed; after the last one the walk is finished.

    Parameters:
        began_at: when the page was asked for, by the tenant's clock.
        following: the query of the next page; None after the last.

    Returns:
        False where another process has moved the walk on meanwhile: leave it.
    """
    row = connection.execute(
        _MOVE,
        {
            "tenant": walk.tenant,
            "walk_id": walk.walk_id,
            "pages": walk.pages,
            "following": None if following is None else to_json(following),
            "began_at": began_at,
            "lease": LEASE,
            "calls": found.calls,
            "compared": found.compared,
            "missing": found.missing,
            "stale": found.stale,
            "healed": found.healed,
            "unreadable": found.unreadable,
            "behind_seconds": found.behind_seconds,
        },
    ).first()
    if row is None:
        return False
    walk.began_at, walk.following, walk.finished = row.began_at, following, following is None
    walk.pages += 1
    if walk.finished:
        connection.execute(
            _CURSOR,
            {
                "tenant": walk.tenant,
                "kind": walk.kind,
                "began_at": walk.began_at,
                "changed_since": walk.changed_since,
            },
        )
    return True


# Index: primary key.
_LEAVE = text("""
UPDATE ingest.walk
   SET lease_expires_at = NULL, retry_at = now() + :delay, last_error = :error
 WHERE tenant = :tenant
   AND walk_id = :walk_id
   AND pages = :pages
   AND finished_at IS NULL
""")


def leave(connection: Connection, walk: Walk, *, delay: timedelta | None = None, error: str | None = None) -> None:
    """Leave a walk to whichever process comes next.

    Parameters:
        delay: put it off for so long, as its listing cannot be read before; None: it may be taken up now.
        error: why it was put off.
    """
    connection.execute(
        _LEAVE,
        {"tenant": walk.tenant, "walk_id": walk.walk_id, "pages": walk.pages, "delay": delay, "error": error},
    )


def note_absent(connection: Connection, walk: Walk) -> int:
    """After a walk through a whole listing: ask for a read of each entity that we know and it did not show.

    A 404 then makes the tombstone. Index: the mirrored table's primary key, read whole.

    Returns:
        How many they are; of more than ``MOST_ABSENT`` the others are left to the next walk.
    """
    mirror = MIRRORS[walk.kind]
    parameters: dict[str, Any] = {
        "tenant": walk.tenant,
        "kind": walk.kind,
        "walk_id": walk.walk_id,
        "began_at": walk.began_at,
        "walk_started_at": _started_at(connection, walk),
        "most": MOST_ABSENT,
    }
    result = connection.execute(
        text(f"""
            WITH absent AS (
                INSERT INTO ingest.refresh_request AS known (tenant, entity, entity_id, reason)
                SELECT :tenant, :kind, {mirror.key}, 'changed'
                  FROM charging.{mirror.name} AS known
                 WHERE {mirror.matches("known")}
                   AND deleted_at IS NULL
                   AND coalesce(presence_at, '-infinity') < :began_at
                   AND coalesce({whole_group(walk.kind)}_at, '-infinity') < :began_at
                   AND first_seen_at < :walk_started_at
                   AND NOT EXISTS (SELECT FROM {LISTED_IDS} AS listed WHERE listed.entity_id = known.{mirror.key})
                 ORDER BY {mirror.key}
                 LIMIT :most
                    ON CONFLICT DO NOTHING
                RETURNING 1
            )
            UPDATE ingest.walk
               SET absent = (SELECT count(*) FROM absent)
             WHERE tenant = :tenant
               AND walk_id = :walk_id
            RETURNING absent
        """),  # noqa: S608 - the names are ours
        parameters,
    )
    absent = int(result.scalar_one())
    forget_listed(connection, walk.tenant, walk.walk_id)
    return absent


def _started_at(connection: Connection, walk: Walk) -> datetime:
    statement = text("SELECT started_at FROM ingest.walk WHERE tenant = :tenant AND walk_id = :walk_id")
    started_at: datetime = connection.execute(statement, {"tenant": walk.tenant, "walk_id": walk.walk_id}).scalar_one()
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
_FORGET = text("DELETE FROM ingest.walk WHERE finished_at < now() - :age")


def forget(connection: Connection, age: timedelta) -> None:
    """Drop the records of walks that ended longer ago than ``age``."""
    connection.execute(_FORGET, {"age": age})


def stored(connection: Connection, tenant: str, kind: str) -> int:
    """How many entities of a kind are stored and not deleted. The mirrored table is read whole."""
    statement = text(f"SELECT count(*) FROM {MIRRORS[kind].rows()} AS known WHERE deleted_at IS NULL")  # noqa: S608 - ours
    return int(connection.execute(statement, {"tenant": tenant}).scalar_one())
