"""Children: entities without a read of their own, which are listed with their parent and follow it.

A child is there if the latest read of a parent showed it, and gone if the latest read of its own
parent did not, or found the parent gone. Which parent is its own is decided by what is stored when
the read is written, so that a child which has moved is not taken for one that is gone.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from storage.changes import ChangeSet
from storage.facts import presence
from storage.fold import Fact
from storage.mirrors import CHILDREN, MIRRORS

#: Entities that stand in another one and have a read of their own, by the kind of that other one. Where it
#: is gone, they are asked for.
_STANDING_IN = {"charge_point": "evse"}


def follow_parents(connection: Connection, tenant: str, changes: ChangeSet) -> None:
    """Add to what reads found what it means for the children that they did not show.

    Call it in the transaction that writes the findings, before they are written.
    Indexes: each child's index on its parent, such as ``connector_tenant_evse_id_idx``.
    """
    for kind in {listed.kind for listed in changes.listed}:
        reads = {listed.parent_id: listed for listed in changes.listed if listed.kind == kind}
        if kind in CHILDREN:
            child = CHILDREN[kind]
            for child_id, parent_id in _alive(connection, tenant, child, kind, list(reads)):
                listed = reads[parent_id]
                if child_id not in listed.ids:
                    gone = presence(child, child_id, parent_id=parent_id, began_at=listed.began_at, gone=True)
                    changes.facts.append(gone)
        elif kind in _STANDING_IN:
            standing = _STANDING_IN[kind]
            for entity_id, _ in _alive(connection, tenant, standing, kind, list(reads)):
                changes.require_read(standing, entity_id, "changed")


def _alive(
    connection: Connection, tenant: str, child: str, parent: str, parent_ids: list[int]
) -> list[tuple[int, int]]:
    """The ids of what is stored with these parents and not tombstoned, each with its parent's."""
    statement = text(
        f"SELECT {MIRRORS[child].key}, {parent}_id FROM charging.{child}"  # noqa: S608 - the names are ours
        f" WHERE tenant = :tenant AND {parent}_id = ANY(:ids) AND deleted_at IS NULL"
    )
    rows = connection.execute(statement, {"tenant": tenant, "ids": sorted(parent_ids)})
    return [(child_id, parent_id) for child_id, parent_id in rows]


def orphans(connection: Connection, tenant: str, kind: str, began_at: datetime) -> list[Fact]:
    """Tombstones for the children that outlived their parents of a kind, as one that came with a late notification.

    Indexes: the parent's index on its tombstones, such as ``evse_gone_idx``, then the child's on its parent.

    Parameters:
        began_at: when the last read began, by the tenant's clock.
    """
    child = CHILDREN.get(kind)
    if child is None:
        return []
    parent_key = MIRRORS[child].parent_key
    statement = text(f"""
        SELECT child.{MIRRORS[child].key}, child.{parent_key}, parent.deleted_at
          FROM charging.{kind} AS parent
          JOIN charging.{child} AS child
            ON child.tenant = parent.tenant
           AND child.{parent_key} = parent.{parent_key}
         WHERE parent.tenant = :tenant
           AND parent.deleted_at IS NOT NULL
           AND child.tenant = :tenant
           AND child.deleted_at IS NULL
    """)  # noqa: S608 - the names are ours
    return [
        presence(child, child_id, parent_id=parent_id, began_at=began_at, gone=True, gone_at=gone_at)
        for child_id, parent_id, gone_at in connection.execute(statement, {"tenant": tenant})
    ]
