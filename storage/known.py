"""What is stored of entities: what a read is compared with."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, text

from storage.mirrors import MIRRORS
from storage.version import Version


def whole_group(entity: str) -> str:
    """The group of a readable entity that a whole snapshot fills."""
    return "detail" if entity == "session" else "master"


class Known(dict[str, Any]):
    """The row of one entity; empty where there is none."""

    def __init__(self, entity: str, row: dict[str, Any]) -> None:
        super().__init__(row)
        self._mirror = MIRRORS[entity]
        self._whole = whole_group(entity)

    def version(self, group: str) -> Version:
        """The version of the fact that stands in a group; empty where there is none."""
        return Version(self.get(f"{group}_version") or "")

    @property
    def is_whole(self) -> bool:
        """Whether every group rests on a whole snapshot, nothing is contested and the entity is there."""
        if self.get(f"{self._whole}_version") is None or self.get("deleted_at") is not None:
            return False
        return not any(
            self[group.contested] or self.version(group.name).is_provisional for group in self._mirror.groups
        )


def known(connection: Connection, tenant: str, entity: str, ids: Collection[int]) -> dict[int, Known]:
    """The rows of entities by id, without ``raw``; an empty one where there is none. Index: primary key."""
    mirror = MIRRORS[entity]
    columns = ", ".join(str(column.name) for column in mirror.table.columns if column.name != "raw")
    statement = text(
        f"SELECT {columns} FROM charging.{mirror.name} AS known"  # noqa: S608 - the names are ours
        f" WHERE {mirror.matches('known')} AND {mirror.key} = ANY(:ids)"
    )
    rows = connection.execute(statement, {"tenant": tenant, "ids": sorted(ids)}).mappings()
    found = {row[mirror.key]: Known(entity, dict(row)) for row in rows}
    return {entity_id: found.get(entity_id) or Known(entity, {}) for entity_id in ids}
