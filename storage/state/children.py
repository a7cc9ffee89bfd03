"""Derive tombstones of children: entities without a read of their own, which their parent lists.

A child exists if the latest read of a parent listed it. It is gone if the latest read of its own parent did not
list it, or found the parent gone. The parent that is stored when the read is written decides which parent is the
child's own. So a child that has moved to another parent does not count as gone.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from storage.schema.entities import CHILDREN, MIRRORS
from storage.state.changes import ChangeSet
from storage.state.facts import presence
from storage.state.fold import Fact

#: The kind of entity that is part of another one and has a read of its own, by the kind of the other one. If the
#: other one is gone, reads of its parts are requested.
_PARTS = {"charge_point": "evse"}


def follow_parents(connection: Connection, tenant: str, changes: ChangeSet) -> None:
    """Add tombstones for the children that reads of their parents did not list.

    Call this in the transaction that writes the change set, before writing it.
    Indexes: each child's index on its parent, such as ``connector_tenant_evse_id_idx``.
    """
    for kind in {listed.kind for listed in changes.listed}:
        reads = {listed.parent_id: listed for listed in changes.listed if listed.kind == kind}
        if kind in CHILDREN:
            child = CHILDREN[kind]
            for child_id, parent_id in _alive(connection, tenant, child, kind, list(reads)):
                listed = reads[parent_id]
                if child_id not in listed.ids:
                    tombstone = presence(child, child_id, parent_id=parent_id, began_at=listed.began_at, gone=True)
                    changes.facts.append(tombstone)
        elif kind in _PARTS:
            part = _PARTS[kind]
            for entity_id, _ in _alive(connection, tenant, part, kind, list(reads)):
                changes.require_read(part, entity_id, "changed")


def _alive(
    connection: Connection, tenant: str, child: str, parent: str, parent_ids: list[int]
) -> list[tuple[int, int]]:
    """Return the ids of the entities without a tombstone that are stored with these parents, each with its parent's."""
    statement = text(
        f"SELECT {MIRRORS[child].key}, {parent}_id FROM charging.{child}"  # noqa: S608 - the names are ours
        f" WHERE tenant = :tenant AND {parent}_id = ANY(:ids) AND deleted_at IS NULL"
    )
    rows = connection.execute(statement, {"tenant": tenant, "ids": sorted(parent_ids)})
    return [(child_id, parent_id) for child_id, parent_id in rows]


def orphans(connection: Connection, tenant: str, kind: str, began_at: datetime) -> list[Fact]:
    """Make tombstones for children without one whose parent of a kind has one.

    A notification that arrives after its parent's tombstone can leave such a child.
    Indexes: the parent's index on its tombstones, such as ``evse_gone_idx``, then the child's on its parent.

    Parameters:
        kind: the kind of the parents.
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
