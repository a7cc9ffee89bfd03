"""The one way in which what a notification or a read says becomes rows.

Every transaction that writes takes its locks in this order, so that no two of them wait for each other in a circle:

1. the tenant's suppression key, shared (:mod:`storage.forgotten`), before anything is made of what was sent;
2. the rows of the mirrored tables, in the order of ``MIRRORS`` and then of their keys;
3. the rows of the history tables, in the order of their names and keys;
4. refresh requests, in key order, then what the caller finishes: requests, a walk;
5. unknown fields (:func:`storage.drift.record_drift`): many see the same ones at the same time;
6. the tenant's totals, which all its workers share.

:func:`write_changes` takes the second to the fourth.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection

from storage.children import follow_parents
from storage.findings import Entity, Findings
from storage.fold import Fold
from storage.history import observe
from storage.refresh_queue import mark
from storage.tables import CHARGING
from storage.upsert import upsert


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a change set.

    Attributes:
        contested: the entities about which facts of equal time contradict each other.
        requested: how many entities a read was requested of.
    """

    contested: list[Entity]
    requested: int


def write_changes(
    connection: Connection,
    tenant: str,
    changes: Findings,
    *,
    skip_confirmed: bool = False,
    reading: Collection[Entity] = (),
) -> Written:
    """Write a change set of one tenant: its facts, its observations and the reads that it asks for.

    Parameters:
        changes: what notifications or reads say; what it means for children is added to it.
        skip_confirmed: for reads: leave alone the rows of which everything is stored as a read shows it.
        reading: entities that the caller reads now, so that no read of them is requested because facts contradict.
    """
    follow_parents(connection, tenant, changes)
    contested = write_state(connection, tenant, changes, skip_confirmed=skip_confirmed)
    requested = mark(connection, tenant, changes, [entity for entity in contested if entity not in reading])
    return Written(contested, requested)


def write_state(
    connection: Connection, tenant: str, changes: Findings, *, schema: str = CHARGING, skip_confirmed: bool = False
) -> list[Entity]:
    """Write the facts and the observations of a change set, and request no reads.

    Parameters:
        schema: where the tables are; another one than that of the state holds a rebuild.
        skip_confirmed: as of :func:`write_changes`.

    Returns:
        The entities about which facts of equal time contradict each other.
    """
    contested = upsert(
        connection,
        tenant,
        Fold(changes.facts),
        schema=schema,
        told_by=changes.told_by,
        skip_confirmed=skip_confirmed,
    )
    observe(connection, tenant, changes.observations, schema=schema)
    return contested
