"""Write a rebuilt state over the live one, where they differ.

Rows are updated in place, so that grants, views, indexes and dependent objects stay as they are. No row of the state is
deleted: one that comes neither from the log nor from a read stays, and a read of it is requested.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from sqlalchemy import Connection, text

from ampeco.resources.charging import FINAL_SESSION_STATES
from ampeco.values import MAX_BIGINT
from storage.rebuild.compare import HISTORY, REBUILD
from storage.schema.entities import CHILDREN, MIRRORS, ColumnGroup
from storage.state.changes import ChangeSet, Entity
from storage.state.history import observation_columns
from storage.state.revisions import revision_statement, source_parameters
from storage.state.upsert import stored_columns, upsert_statement
from storage.state.version import is_provisional_sql
from storage.sync.refresh_requests import READABLE, request_refresh

#: The most refresh requests that one statement makes.
MAX_REQUESTED = 2_000

#: For each child kind, which has no read of its own: the kind to read instead, and the column with its id.
READ_WITH = {child: (kind, MIRRORS[child].parent_key) for kind, child in CHILDREN.items()}


def add_history(connection: Connection, tenant: str) -> int:
    """Add the missing observations, and return how many there were.

    Of master data, what an earlier release has read otherwise from the same notification, of the same time, is removed,
    because an entity's history is its observations. Nothing else is, so the transaction need not be the one that
    compared the schemas.
    """
    added = 0
    connection.execute(_READ_OTHERWISE, {"tenant": tenant})
    for table in HISTORY:
        columns = ", ".join(observation_columns(table))
        added += connection.execute(
            text(f"""
            INSERT INTO charging.{table} (tenant, {columns})
            SELECT :tenant, {columns}
              FROM {REBUILD}.{table}
             WHERE tenant = :tenant
                ON CONFLICT DO NOTHING
            """),  # noqa: S608 - the names are ours
            {"tenant": tenant},
        ).rowcount
    return added


# Index: the unique constraint.
_READ_OTHERWISE = text(f"""
DELETE FROM charging.master_observation AS known
 USING {REBUILD}.master_observation AS rebuilt
 WHERE known.tenant = :tenant
   AND rebuilt.tenant = :tenant
   AND (known.kind, known.entity_id, known.column_group, known.fact_at, known.source)
       = (rebuilt.kind, rebuilt.entity_id, rebuilt.column_group, rebuilt.fact_at, rebuilt.source)
   AND known.notification_id = rebuilt.notification_id
   AND known.digest <> rebuilt.digest
""")  # noqa: S608 - the names are ours


def swap(connection: Connection, tenant: str) -> int:
    """Replace the live facts that differ by the rebuilt ones, and return how many rows changed.

    A column group that changed since the comparison is left as it is, unless the rebuilt fact is newer: its new fact
    is newer than the one that was compared, and has replaced all of its columns.
    """
    changed = 0
    for kind in MIRRORS:
        changed += connection.execute(text(_replace(kind)), {"tenant": tenant}).rowcount
        changed += connection.execute(upsert_statement(kind, source=_missing_rows(kind)), {"tenant": tenant}).rowcount
        if kind == "session":
            connection.execute(
                revision_statement(_STOPPED),
                {"tenant": tenant, "final_states": list(FINAL_SESSION_STATES), **source_parameters({})},
            )
    return changed


#: The stopped sessions that differ, with their former columns.
_STOPPED = f"""(
    SELECT entity_id, live
      FROM {REBUILD}.difference
     WHERE kind = 'session'
       AND what = 'different'
       AND live ->> 'status' = ANY(:final_states))"""  # noqa: S608 - the names are ours


@cache
def _replace(kind: str) -> str:
    """Return the statement that replaces the facts that differ.

    Indexes: the primary keys. Rows are locked in key order first, as by every writer.
    """
    mirror = MIRRORS[kind]
    assignments = [
        f"{column} = CASE WHEN {_is_taken(group)} THEN rebuilt.{column} ELSE known.{column} END"
        for group in mirror.groups
        for column in stored_columns(group)
    ]
    is_any_taken = "\n        OR ".join(_is_taken(group) for group in mirror.groups)
    listed = ",\n       ".join(assignments)
    return f"""
WITH compared AS (
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
  FROM compared
  JOIN {mirror.rows(REBUILD)} AS rebuilt USING ({mirror.key})
 WHERE {mirror.matches("known")}
   AND known.{mirror.key} = compared.{mirror.key}
   AND ({is_any_taken})
"""  # noqa: S608 - the names are ours


def _is_taken(group: ColumnGroup) -> str:
    """Return the SQL condition that the rebuilt fact replaces the live one; never null."""
    at, version = group.at, group.version
    return (
        f"('{group.name}' = ANY(compared.groups) AND rebuilt.{at} IS NOT NULL"
        f" AND ((known.{at}, known.{version}) IS NOT DISTINCT FROM"
        f" (CAST(compared.live ->> '{at}' AS timestamptz), compared.live ->> '{version}')"
        f" OR coalesce((rebuilt.{at}, rebuilt.{version}) > (known.{at}, known.{version}), true)))"
    )


@cache
def _missing_rows(kind: str) -> str:
    mirror = MIRRORS[kind]
    columns = [*mirror.keys[1:], *(column for group in mirror.groups for column in stored_columns(group))]
    listed = ", ".join(f"rebuilt.{column}" for column in columns)
    return f"""(
        SELECT {listed}
          FROM {REBUILD}.difference
          JOIN {mirror.rows(REBUILD)} AS rebuilt ON rebuilt.{mirror.key} = difference.entity_id
         WHERE difference.kind = '{kind}'
           AND difference.what = 'missing') AS missing"""  # noqa: S608 - the names are ours


def request_doubtful(connection: Connection, tenant: str) -> int:
    """Request reads of the doubtful entities, and return how many there are.

    An entity is doubtful if a column group comes neither from the log nor from a read, or is provisional or
    conflicting.
    """
    requested = 0
    for entities in _doubts(connection):
        changes = ChangeSet()
        for entity in entities:
            changes.require_read(entity.kind, entity.entity_id, "conflicting")
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
    """Return the query of the next entities to read because of the differences of one kind."""
    doubts = "\n        OR ".join(_is_in_doubt(group) for group in MIRRORS[kind].groups)
    return f"""
SELECT DISTINCT read_id
  FROM {REBUILD}.difference
 CROSS JOIN LATERAL (SELECT CAST(coalesce(rebuilt ->> '{column}', live ->> '{column}') AS bigint)) AS named (read_id)
 WHERE kind = '{kind}'
   AND read_id > :last
   AND ({doubts})
 ORDER BY read_id
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
