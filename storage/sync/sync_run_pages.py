"""Record which entities the pages of an unfinished sync run listed.

A page that shows nothing new changes no rows of entities, so those rows do not show what a sync run has listed.
One row for each page does.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, text

#: A SQL subquery of the ids that a sync run has listed. Index: primary key.
LISTED_IDS = """
(SELECT unnest(entity_ids) AS entity_id
   FROM ingest.sync_run_page
  WHERE tenant = :tenant
    AND sync_run_id = :sync_run_id)"""

# Index: primary key.
_NOTE = text("""
INSERT INTO ingest.sync_run_page (tenant, sync_run_id, page, entity_ids)
VALUES (:tenant, :sync_run_id, :page, :entity_ids)
""")

# Index: primary key.
_PRUNE = text("DELETE FROM ingest.sync_run_page WHERE tenant = :tenant AND sync_run_id = :sync_run_id")


def note_listed(connection: Connection, tenant: str, sync_run_id: UUID, page: int, entity_ids: Sequence[int]) -> None:
    """Record the ids that a page of a sync run listed, in the transaction that records the page's progress."""
    parameters = {"tenant": tenant, "sync_run_id": sync_run_id, "page": page, "entity_ids": list(entity_ids)}
    connection.execute(_NOTE, parameters)


def prune_listed(connection: Connection, tenant: str, sync_run_id: UUID) -> None:
    """Delete the pages of a finished sync run."""
    connection.execute(_PRUNE, {"tenant": tenant, "sync_run_id": sync_run_id})
