"""Load stored entities, with which reads are compared."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, text

from storage.schema.entities import MIRRORS
from storage.state.version import Version


def snapshot_group(kind: str) -> str:
    """Return the column group that a snapshot of a readable kind fills."""
    return "detail" if kind == "session" else "master"


class StoredEntity(dict[str, Any]):
    """The row of one entity by column, without ``raw``; empty if there is none."""

    def __init__(self, kind: str, row: dict[str, Any]) -> None:
        super().__init__(row)
        self._mirror = MIRRORS[kind]
        self._snapshot = snapshot_group(kind)

    def version(self, group: str) -> Version:
        """Return the version of the current fact of a column group; empty if there is none."""
        return Version(self.get(f"{group}_version") or "")

    @property
    def is_complete(self) -> bool:
        """Whether a snapshot is stored, no column group is provisional or conflicting, and there is no tombstone."""
        if self.get(f"{self._snapshot}_version") is None or self.get("deleted_at") is not None:
            return False
        return not any(
            self[group.conflicting] or self.version(group.name).is_provisional for group in self._mirror.groups
        )


def load_stored(connection: Connection, tenant: str, kind: str, ids: Collection[int]) -> dict[int, StoredEntity]:
    """Load the rows of entities, by id; an entity without a row gets an empty one. Index: primary key."""
    mirror = MIRRORS[kind]
    columns = ", ".join(str(column.name) for column in mirror.table.columns if column.name != "raw")
    statement = text(
        f"SELECT {columns} FROM charging.{mirror.name} AS known"  # noqa: S608 - the names are ours
        f" WHERE {mirror.matches('known')} AND {mirror.key} = ANY(:ids)"
    )
    rows = connection.execute(statement, {"tenant": tenant, "ids": sorted(ids)}).mappings()
    stored = {row[mirror.key]: StoredEntity(kind, dict(row)) for row in rows}
    return {entity_id: stored.get(entity_id) or StoredEntity(kind, {}) for entity_id in ids}
