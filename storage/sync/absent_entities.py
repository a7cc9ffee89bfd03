"""Find the stored entities that a complete listing does not show any more.

A page that shows nothing new changes no rows of entities, so those rows do not show what a sync run has listed.
One row for each page does, until the sync run is finished.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from storage.schema.entities import MIRRORS
from storage.state.stored import snapshot_group
from storage.sync.sync_runs import SyncRun

#: The most absent entities that one sync run finds, as each may cost a call. If a failure at AMPECO makes a listing
#: empty, the service must not read the whole fleet one by one.
MAX_ABSENT = 1_000

# Index: primary key.
_NOTE = text("""
INSERT INTO ingest.sync_run_page (tenant, sync_run_id, page, entity_ids)
VALUES (:tenant, :sync_run_id, :page, :entity_ids)
""")


def note_listed(connection: Connection, run: SyncRun, entity_ids: Sequence[int]) -> None:
    """Record the ids that the last page of a sync run listed, in the transaction that records the page's progress."""
    parameters = {"tenant": run.tenant, "sync_run_id": run.sync_run_id, "page": run.pages}
    connection.execute(_NOTE, parameters | {"entity_ids": list(entity_ids)})


def find_absent(
    connection: Connection, run: SyncRun, *, is_local: bool = False, must_be_readable: bool = False
) -> list[int]:
    """Return the stored entities that a finished sync run through a complete listing did not show, and record them.

    Indexes: primary keys; this reads all rows of the kind.

    Parameters:
        is_local: whether the listing left out what belongs to roaming partners.
        must_be_readable: find none if the listing showed an entity that cannot be parsed, because it may be any of
            them.

    Returns:
        Their ids. Beyond ``MAX_ABSENT``, the next sync run finds the others.
    """
    mirror = MIRRORS[run.kind]
    statement = text(f"""
SELECT {mirror.key}
  FROM charging.{mirror.name} AS known
 WHERE {mirror.matches("known")}
   AND deleted_at IS NULL{" AND roaming_operator_id IS NULL" if is_local else ""}
   AND coalesce(presence_at, '-infinity') < :began_at
   AND coalesce({snapshot_group(run.kind)}_at, '-infinity') < :began_at
   AND first_seen_at < (
       SELECT started_at
         FROM ingest.sync_run
        WHERE tenant = :tenant
          AND sync_run_id = :sync_run_id
          AND (unreadable = 0 OR NOT :must_be_readable))
   AND NOT EXISTS (
       SELECT
         FROM (SELECT unnest(entity_ids) AS entity_id
                 FROM ingest.sync_run_page
                WHERE tenant = :tenant
                  AND sync_run_id = :sync_run_id) AS listed
        WHERE listed.entity_id = known.{mirror.key})
 ORDER BY {mirror.key}
 LIMIT :limit
""")  # noqa: S608 - the names are ours
    parameters = {
        "tenant": run.tenant,
        "sync_run_id": run.sync_run_id,
        "began_at": run.began_at,
        "must_be_readable": must_be_readable,
        "limit": MAX_ABSENT,
    }
    ids = list(connection.execute(statement, parameters).scalars())
    _close(connection, run, len(ids))
    return ids


# Indexes: primary keys.
_REQUEST = text("""
WITH requested AS (
    INSERT INTO ingest.refresh_request (tenant, kind, entity_id, reason)
    SELECT :tenant, :kind, entity_id, 'changed'
      FROM unnest(CAST(:ids AS bigint[])) AS absent (entity_id)
     ORDER BY entity_id
        ON CONFLICT DO NOTHING
    RETURNING 1
)
UPDATE ingest.sync_run
   SET absent = (SELECT count(*) FROM requested)
 WHERE tenant = :tenant
   AND sync_run_id = :sync_run_id
RETURNING absent
""")


def request_absent(connection: Connection, run: SyncRun, ids: Sequence[int]) -> int:
    """Request a read of each absent entity, whose 404 makes the tombstone.

    Returns:
        How many reads were requested, which is what the sync run's record counts: an entity whose read was requested
        before is not counted as found by it.
    """
    parameters = {"tenant": run.tenant, "sync_run_id": run.sync_run_id, "kind": run.kind, "ids": list(ids)}
    return int(connection.execute(_REQUEST, parameters).scalar_one())


# Indexes: primary keys.
_CLOSE = text("""
WITH pruned AS (
    DELETE FROM ingest.sync_run_page
     WHERE tenant = :tenant
       AND sync_run_id = :sync_run_id
)
UPDATE ingest.sync_run
   SET absent = :absent
 WHERE tenant = :tenant
   AND sync_run_id = :sync_run_id
""")


def _close(connection: Connection, run: SyncRun, absent: int) -> None:
    """Record how many entities were absent, and delete the pages of the finished sync run."""
    connection.execute(_CLOSE, {"tenant": run.tenant, "sync_run_id": run.sync_run_id, "absent": absent})
