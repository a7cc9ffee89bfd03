"""The pages of unfinished sync runs through whole listings: which entities each of them listed.

A read that finds nothing new writes no row of the entities, so that their rows do not tell what a sync run has
seen. One row for each page does.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, text

#: The ids that a sync run has seen, as rows. Index: primary key.
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
    """Note what a page of a sync run showed, in the transaction that moves the sync run on."""
    parameters = {"tenant": tenant, "sync_run_id": sync_run_id, "page": page, "entity_ids": list(entity_ids)}
    connection.execute(_NOTE, parameters)


def prune_listed(connection: Connection, tenant: str, sync_run_id: UUID) -> None:
    """Drop the pages of a sync run that has come to its end."""
    connection.execute(_PRUNE, {"tenant": tenant, "sync_run_id": sync_run_id})
