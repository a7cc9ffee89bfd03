"""Write change sets; this is the only way in which notifications and reads become rows.

Every transaction that writes takes its locks in this order, so that no two of them wait for each other in a circle:

1. the tenant's suppression key, shared (:mod:`storage.erasure.suppression`), before the data is parsed;
2. the rows of the mirrored tables, in the order of ``MIRRORS`` and then of their keys;
3. observations of master data, and then the rows of the other history tables, in the order of the tables' names and
   then of the rows' keys;
4. refresh requests, in key order, and then what the caller finishes: requests, a sync run;
5. unknown fields (:func:`storage.state.unknown_fields.record_unknown_fields`), because many transactions
   count the same names;
6. the tenant's totals, which all its workers share.

:func:`write_changes` takes the second to the fourth.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from storage.schema_names import CHARGING
from storage.state import marks
from storage.state.changes import ChangeSet, Entity
from storage.state.children import follow_parents
from storage.state.fold import Fold
from storage.state.history import observe
from storage.state.master_observations import observe_master_data
from storage.state.upsert import upsert
from storage.sync.refresh_requests import request_refresh


def write_changes(
    connection: Connection,
    tenant: str,
    changes: ChangeSet,
    *,
    skip_confirmed: bool = False,
    is_being_read: Callable[[Entity], bool] = lambda _: False,
) -> int:
    """Write a change set of one tenant: its facts, its observations and its refresh requests.

    Parameters:
        changes: the change set, to which tombstones of children are added.
        skip_confirmed: for reads: do not write a row if a read has already stored all that this read shows.
        is_being_read: returns whether the caller is reading an entity; no read of it is requested if it is conflicting.

    Returns:
        The number of entities of which a read was requested.
    """
    follow_parents(connection, tenant, changes)
    conflicting = write_state(connection, tenant, changes, skip_confirmed=skip_confirmed)
    return request_refresh(connection, tenant, changes, [entity for entity in conflicting if not is_being_read(entity)])


def write_state(
    connection: Connection, tenant: str, changes: ChangeSet, *, schema: str = CHARGING, skip_confirmed: bool = False
) -> list[Entity]:
    """Write the facts and the observations of a change set without its refresh requests.

    Parameters:
        changes: the change set.
        schema: the schema of the tables; a rebuild has its own.
        skip_confirmed: see :func:`write_changes`.

    Returns:
        The entities about which facts of equal time contradict each other.
    """
    written = upsert(
        connection,
        tenant,
        Fold(changes.facts),
        schema=schema,
        source_notifications=changes.source_notifications,
        skip_confirmed=skip_confirmed,
    )
    observed = observe_master_data(connection, tenant, changes.facts, changes.source_notifications, schema=schema)
    observed |= observe(connection, tenant, changes.observations, schema=schema)
    if schema == CHARGING:
        marks.mark(connection, tenant, marks.marks_of(changes, written, observed))
    return written.conflicting
