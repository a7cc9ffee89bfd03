"""Putting a rebuilt state in the place of the live one, where they differ.

Rows are mended where they are, so that grants, views, indexes and what builds on them stay
as they are. Nothing is deleted: what neither the log nor a read accounts for stays, and is
marked for a read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from sqlalchemy import Connection, text

from ampeco.resources import FINAL_SESSION_STATES
from storage.changes import ChangeSet, Entity
from storage.history import observation_columns
from storage.mirrors import CHILDREN, MIRRORS, ColumnGroup
from storage.rebuild import HISTORY, REBUILD
from storage.refresh_queue import READABLE, request_refresh
from storage.revisions import revision_statement, source_parameters
from storage.upsert import stored_columns, upsert_statement
from storage.version import is_provisional_sql

MAX_BIGINT = 2**63 - 1

#: Marks that are made by one statement.
MAX_REQUESTED = 2_000

#: The entity that is read in the place of one that has no read of its own, and the column that names it.
READ_WITH = {child: (kind, MIRRORS[child].parent_key) for kind, child in CHILDREN.items()}


def add_history(connection: Connection, tenant: str) -> int:
    """Add the observations that are missing; any transaction will do, as it only ever adds."""
    added = 0
    for table in HISTORY:
        columns = ", ".join(observation_columns(table))
        added += connection.execute(
            text(f"""
            INSERT INTO charging.{table} (tenant, {columns})
            SELECT tenant, {columns}
              FROM {REBUILD}.{table}
             WHERE tenant = :tenant
                ON CONFLICT DO NOTHING
            """),  # noqa: S608 - the names are ours
            {"tenant": tenant},
        ).rowcount
    return added


def swap(connection: Connection, tenant: str) -> int:
    """Put the rebuilt facts in the place of those that differ from them; returns how many rows changed.

    A group that changed since it was compared is left alone, unless the rebuilt fact is newer:
    its new fact replaced it as a whole, and is newer than the one that was compared.
    """
    changed = 0
    for kind in MIRRORS:
        changed += connection.execute(text(_replace(kind)), {"tenant": tenant}).rowcount
        changed += connection.execute(
            text(upsert_statement(kind, source=_missing_rows(kind))), {"tenant": tenant}
        ).rowcount
        if kind == "session":
            connection.execute(
                text(revision_statement(_STOPPED)),
                {"tenant": tenant, "final_states": list(FINAL_SESSION_STATES), **source_parameters({})},
            )
    return changed


#: The stopped sessions that differed, as they were.
_STOPPED = f"""(
    SELECT entity_id, live
      FROM {REBUILD}.difference
     WHERE kind = 'session'
       AND what = 'different'
       AND live ->> 'status' = ANY(:final_states))"""  # noqa: S608 - the names are ours


@cache
def _replace(kind: str) -> str:
    """Index: the primary keys. Rows are locked in key order first, as every writer does."""
    mirror = MIRRORS[kind]
    assignments = [
        f"{column} = CASE WHEN {_is_taken(group)} THEN rebuilt.{column} ELSE known.{column} END"
        for group in mirror.groups
        for column in stored_columns(group)
    ]
    taken = "\n        OR ".join(_is_taken(group) for group in mirror.groups)
    listed = ",\n       ".join(assignments)
    return f"""
WITH found AS (
    SELECT known.{mirror.key}, difference.groups, difference.live
      FROM {REBUILD}.difference
      JOIN charging.{mirror.name} AS known
        ON {mirror.matches("known")}
       AND known.{mirror.key} = difference.entity_id
     WHERE difference.kind = '{kind}'
       AND difference.what = 'different'
     ORDER BY known.{mirror.key}
       FOR UPDATE OF known
)
UPDATE charging.{mirror.name} AS known
   SET {listed},
       updated_at = now()
  FROM found
  JOIN {mirror.rows(REBUILD)} AS rebuilt USING ({mirror.key})
 WHERE {mirror.matches("known")}
   AND known.{mirror.key} = found.{mirror.key}
   AND ({taken})
"""  # noqa: S608 - the names are ours


def _is_taken(group: ColumnGroup) -> str:
    """Whether the rebuilt fact takes the place of the live one; never null."""
    at, version = group.at, group.version
    return (
        f"('{group.name}' = ANY(found.groups) AND rebuilt.{at} IS NOT NULL"
        f" AND ((known.{at}, known.{version}) IS NOT DISTINCT FROM"
        f" (CAST(found.live ->> '{at}' AS timestamptz), found.live ->> '{version}')"
        f" OR coalesce((rebuilt.{at}, rebuilt.{version}) > (known.{at}, known.{version}), true)))"
    )


@cache
def _missing_rows(kind: str) -> str:
    mirror = MIRRORS[kind]
    columns = [*mirror.keys, *(column for group in mirror.groups for column in stored_columns(group))]
    listed = ", ".join(f"rebuilt.{column}" for column in columns)
    return f"""(
        SELECT {listed}
          FROM {REBUILD}.difference
          JOIN {mirror.rows(REBUILD)} AS rebuilt ON rebuilt.{mirror.key} = difference.entity_id
         WHERE difference.kind = '{kind}'
           AND difference.what = 'missing') AS missing"""  # noqa: S608 - the names are ours


def request_doubtful(connection: Connection, tenant: str) -> int:
    """Ask for a read of what stays in doubt; returns how many entities were marked.

    In doubt is what neither the log nor a read accounts for, and what rests on a partial fact
    or on one of two that contradict each other.
    """
    requested = 0
    for entities in _doubts(connection):
        changes = ChangeSet()
        for one in entities:
            changes.require_read(one.kind, one.entity_id, "conflicting")
        requested += request_refresh(connection, tenant, changes, [])
    return requested


def _doubts(connection: Connection) -> Iterator[list[Entity]]:
    for kind, mirror in MIRRORS.items():
        read, column = READ_WITH.get(kind, (kind, mirror.key))
        if read not in READABLE:
            continue
        statement = text(_doubt(kind, column))
        last = -MAX_BIGINT
        while ids := connection.execute(statement, {"last": last, "limit": MAX_REQUESTED}).scalars().all():
            yield [Entity(read, entity_id) for entity_id in ids]
            last = ids[-1]


@cache
def _doubt(kind: str, column: str) -> str:
    """The next entities to be read on account of the differences of one table."""
    doubts = "\n        OR ".join(_is_in_doubt(group) for group in MIRRORS[kind].groups)
    return f"""
SELECT DISTINCT wanted
  FROM {REBUILD}.difference
 CROSS JOIN LATERAL (SELECT CAST(coalesce(rebuilt ->> '{column}', live ->> '{column}') AS bigint)) AS named (wanted)
 WHERE kind = '{kind}'
   AND wanted > :last
   AND ({doubts})
 ORDER BY wanted
 LIMIT :limit
"""  # noqa: S608 - the names are ours


def _is_in_doubt(group: ColumnGroup) -> str:
    conflicting = f"'{group.conflicting}'"
    live, rebuilt = (f"{side} ->> '{group.version}'" for side in ("live", "rebuilt"))
    return (
        f"('{group.name}' = ANY(groups)"
        f" AND (coalesce({is_provisional_sql(rebuilt)}, {live} IS NOT NULL)"
        f" OR coalesce(CAST(rebuilt ->> {conflicting} AS boolean), false)))"
    )
