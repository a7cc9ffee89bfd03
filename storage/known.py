"""What is stored of one entity: what a read is compared with."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from storage.fold import is_provisional
from storage.mirrors import MIRRORS


def whole_group(entity: str) -> str:
    """The group of a readable entity that a whole snapshot fills."""
    return "detail" if entity == "session" else "master"


class Known(dict[str, Any]):
    """The row of one entity; empty where there is none."""

    def __init__(self, entity: str, row: dict[str, Any]) -> None:
        super().__init__(row)
        self._mirror = MIRRORS[entity]
        self._whole = whole_group(entity)

    @property
    def is_whole(self) -> bool:
        """Whether every group rests on a whole snapshot, nothing is contested and the entity is there."""
        if self.get(f"{self._whole}_version") is None or self.get("deleted_at") is not None:
            return False
        return not any(
            self[group.contested] or is_provisional(self[group.version] or "") for group in self._mirror.groups
        )


def known(connection: Connection, tenant: str, entity: str, entity_id: int) -> Known:
    """Index: primary key."""
    mirror = MIRRORS[entity]
    statement = text(
        f"SELECT * FROM {mirror.source} AS known WHERE tenant = :tenant AND {mirror.key} = :id"  # noqa: S608 - ours
    )
    row = connection.execute(statement, {"tenant": tenant, "id": entity_id}).mappings().first()
    return Known(entity, dict(row) if row is not None else {})


def children(connection: Connection, tenant: str, child: str, parent: str, parent_id: int) -> set[int]:
    """The ids of an entity's children that are not tombstoned.

    Index: the child's index on its parent, such as ``connector_tenant_evse_id_idx``.
    """
    key = MIRRORS[child].key
    statement = text(
        f"SELECT {key} FROM charging.{child}"  # noqa: S608 - the names are ours
        f" WHERE tenant = :tenant AND {parent}_id = :id AND deleted_at IS NULL"
    )
    return set(connection.execute(statement, {"tenant": tenant, "id": parent_id}).scalars())
