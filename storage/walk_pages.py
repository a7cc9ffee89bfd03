"""The pages of unfinished walks through whole listings: which entities each of them listed.

A read that finds nothing new writes no row of the entities, so that their rows do not tell what a walk has
seen. One row for each page does.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, text

#: The ids that a walk has seen, as rows. Index: primary key.
LISTED_IDS = """
(SELECT unnest(entity_ids) AS entity_id
   FROM ingest.walk_page
  WHERE tenant = :tenant
    AND walk_id = :walk_id)"""

# Index: primary key.
_NOTE = text("""
INSERT INTO ingest.walk_page (tenant, walk_id, page, entity_ids)
VALUES (:tenant, :walk_id, :page, :entity_ids)
""")

# Index: primary key.
_FORGET = text("DELETE FROM ingest.walk_page WHERE tenant = :tenant AND walk_id = :walk_id")


def note_listed(connection: Connection, tenant: str, walk_id: UUID, page: int, entity_ids: Sequence[int]) -> None:
    """Note what a page of a walk showed, in the transaction that moves the walk on."""
    parameters = {"tenant": tenant, "walk_id": walk_id, "page": page, "entity_ids": list(entity_ids)}
    connection.execute(_NOTE, parameters)


def forget_listed(connection: Connection, tenant: str, walk_id: UUID) -> None:
    """Drop the pages of a walk that has come to its end."""
    connection.execute(_FORGET, {"tenant": tenant, "walk_id": walk_id})
