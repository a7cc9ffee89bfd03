"""Compute the state from the log in a second schema, and compare it with the live one.

The log is folded into tables that are copies of the live ones. Facts that the log cannot contain are *carried over*
from the live tables by the same upsert, so that the result is that of folding the log and all reads together:

- column groups whose fact comes from a read, because reads are not in the log. Tombstones are among them.
- column groups whose fact is older than the log, in rows that are older than the log, because their notifications
  were dropped with their partitions.
- column groups whose fact is about as old as the first day of the log, and that no notification in the log explains, in
  rows that are older than the last drop: a notification of a dropped day may have been applied after that day, and the
  clock of its charge point may have been ahead.
- provisional facts of the kinds for which reads give provisional facts.

The remaining differences between the two schemas are recorded and counted, table by table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, UniqueConstraint, text

from storage.ids import first_made_at
from storage.inbox.retention import last_dropped_at
from storage.schema.entities import MIRRORS, ColumnGroup
from storage.schema.tables import metadata
from storage.schema_names import CHARGING
from storage.state.changes import Entity
from storage.state.clocks import TOLERANCE
from storage.state.upsert import stored_columns, upsert_statement
from storage.state.version import is_provisional_sql, is_read_sql, rank_sql

#: The schema of the rebuilt tables.
REBUILD = "charging_rebuild"

#: The kinds for which reads give provisional facts: a read of a session contains its authorization in an older
#: vocabulary, which is a partial fact.
PROVISIONAL_FROM_READS = frozenset({"authorization"})

#: The tables of the mirrored kinds; some kinds share a table.
STATE: tuple[str, ...] = tuple(dict.fromkeys(mirror.name for mirror in MIRRORS.values()))

#: The tables that the log does not contain: revisions depend on when we learned each fact, only reads show what an
#: error code means and what AMPECO knows of the consumption of sessions, and people enter exclusions.
_NOT_REBUILT = ("session_revision", "error_description", "consumption_point", "operator_exclusion")

#: The other history tables, whose unique constraints identify their rows.
HISTORY: tuple[str, ...] = tuple(
    sorted(
        table.name
        for table in metadata.tables.values()
        if table.schema == CHARGING and table.name not in (*STATE, *_NOT_REBUILT)
    )
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that differs between the live and the rebuilt table.

    Attributes:
        table: the kind of entity, or the history table.
        key: the id of the entity, or the columns of the unique constraint with their values.
        what: ``missing`` from the live table, ``extra`` in it, or ``different``.
        changes: each column that differs, with its live and its rebuilt value.
    """

    table: str
    key: str
    what: str
    changes: dict[str, tuple[Any, Any]]


@dataclass(slots=True)
class Compared:
    """The comparison of a live table with the rebuilt one; all numbers are numbers of rows.

    Attributes:
        table: the kind of entity, or the history table.
        live: rows of the live table.
        missing: rows that are missing from the live table.
        extra: rows that only the live table has.
        different: rows that have other values in the live table.
        moving: rows that were not compared, because a worker was applying notifications of them.
    """

    table: str
    live: int
    missing: int = 0
    extra: int = 0
    different: int = 0
    moving: int = 0

    @property
    def differs(self) -> bool:
        """Whether the live table differs from the rebuilt one."""
        return bool(self.missing or self.extra or self.different)


def make(connection: Connection) -> None:
    """Make the schema with empty tables; drop one that a crashed rebuild left behind.

    The tables are unlogged: after a crash they are useless.
    """
    connection.execute(text(f"DROP SCHEMA IF EXISTS {REBUILD} CASCADE"))
    connection.execute(text(f"CREATE SCHEMA {REBUILD}"))
    for table in (*STATE, *HISTORY):
        like = f"LIKE {CHARGING}.{table} INCLUDING DEFAULTS INCLUDING INDEXES"
        connection.execute(text(f"CREATE UNLOGGED TABLE {REBUILD}.{table} ({like})"))
    connection.execute(
        text(f"""
        CREATE UNLOGGED TABLE {REBUILD}.difference (
               kind text, entity_id bigint, what text, groups text[], columns text[], live jsonb, rebuilt jsonb,
               PRIMARY KEY (kind, entity_id))
        """)
    )
    connection.execute(
        text(f"CREATE UNLOGGED TABLE {REBUILD}.moving (kind text, entity_id bigint, PRIMARY KEY (kind, entity_id))")
    )


def drop(connection: Connection) -> None:
    """Drop the schema with its tables."""
    connection.execute(text(f"DROP SCHEMA IF EXISTS {REBUILD} CASCADE"))


@cache
def unique_columns(table: str) -> tuple[str, ...]:
    """Return the columns that identify the rows of a history table: those of its unique constraint."""
    (unique,) = (
        constraint
        for constraint in metadata.tables[f"{CHARGING}.{table}"].constraints
        if isinstance(constraint, UniqueConstraint)
    )
    return tuple(column.name for column in unique.columns)


def carry(connection: Connection, tenant: str, log_begins_at: datetime | None) -> None:
    """Fold the facts that the log cannot contain into the rebuilt tables, after the log is folded.

    Parameters:
        log_begins_at: when the oldest notification in the log was received; None if there is none.
    """
    parameters = {
        "tenant": tenant,
        "log_begins_at": log_begins_at,
        "dropped_at": last_dropped_at(connection),
        "tolerance": TOLERANCE,
    }
    for kind in MIRRORS:
        connection.execute(upsert_statement(kind, REBUILD, _carried(kind)), parameters)


@cache
def _carried(kind: str) -> str:
    """Return the SQL source of the facts to carry over. Index: the primary keys, or a hash of the rebuilt rows."""
    mirror = MIRRORS[kind]
    columns = [f"live.{key}" for key in mirror.keys]
    for group in mirror.groups:
        is_carried = _is_beyond_the_log(kind, group)
        columns += [
            f"{is_carried} AND live.{column} AS {column}"
            if column == group.conflicting
            else f"CASE WHEN {is_carried} THEN live.{column} END AS {column}"
            for column in stored_columns(group)
        ]
    is_any_carried = " OR ".join(_is_beyond_the_log(kind, group) for group in mirror.groups)
    listed = ", ".join(columns)
    source = f"{mirror.rows()} AS live LEFT JOIN {mirror.rows(REBUILD)} AS rebuilt USING ({mirror.key})"
    return f"(SELECT {listed} FROM {source} WHERE {is_any_carried}) AS carried"  # noqa: S608 - the names are ours


def _is_beyond_the_log(kind: str, group: ColumnGroup) -> str:
    """Return the SQL condition that the fact of a column group comes from no notification in the log; never null."""
    at, version = f"live.{group.at}", f"live.{group.version}"
    begins_at = "coalesce(CAST(:log_begins_at AS timestamptz), 'infinity')"
    cases = [
        is_read_sql(version),
        # A log of which nothing was dropped has no older rows: each row was first written from the log.
        f"(live.first_seen_at < {begins_at} AND {at} < {begins_at})",
        # A fact of the log is not carried, because this release may read it otherwise.
        f"(live.first_seen_at < CAST(:dropped_at AS timestamptz) AND {at} < {begins_at} + :tolerance"
        f" AND (rebuilt.{group.at} IS NULL OR ({at}, {rank_sql(version)})"
        f" > (rebuilt.{group.at}, {rank_sql(f'rebuilt.{group.version}')})))",
    ]
    if kind in PROVISIONAL_FROM_READS:
        cases.append(f"({is_provisional_sql(version)})")
    return f"coalesce({' OR '.join(cases)}, false)"


def note_moving(connection: Connection, entities: Sequence[Entity]) -> None:
    """Exclude entities from the comparison, because a worker is applying notifications of them."""
    connection.execute(
        text(f"""
        INSERT INTO {REBUILD}.moving (kind, entity_id)
        SELECT *
          FROM unnest(CAST(:kinds AS text[]), CAST(:ids AS bigint[]))
            ON CONFLICT DO NOTHING
        """),  # noqa: S608 - the names are ours
        {
            "kinds": [entity.kind for entity in entities],
            "ids": [entity.entity_id for entity in entities],
        },
    )


def compare(connection: Connection, tenant: str, log_begins_at: datetime | None) -> list[Compared]:
    """Record and count the differences; call this in the database snapshot in which the rebuilt tables were finished.

    Parameters:
        log_begins_at: when the oldest notification in the log was received; None if there is none.
    """
    tables = []
    for kind in MIRRORS:
        connection.execute(text(_compare(kind)), {"tenant": tenant})
        rows = connection.execute(
            text(f"SELECT what, count(*) FROM {REBUILD}.difference WHERE kind = :kind GROUP BY what"),  # noqa: S608
            {"kind": kind},
        )
        counts = {what: int(number) for what, number in rows}
        tables.append(
            Compared(
                kind,
                live=_rows(connection, f"{MIRRORS[kind].rows()} AS live", tenant=tenant),
                missing=counts.get("missing", 0),
                extra=counts.get("extra", 0),
                different=counts.get("different", 0),
                moving=_rows(connection, f"{REBUILD}.moving WHERE kind = :kind", kind=kind),
            )
        )
    for table in HISTORY:
        parameters = {"tenant": tenant, "first_id": _first_id(log_begins_at)}
        tables.append(
            Compared(
                table,
                live=_rows(connection, f"charging.{table} WHERE tenant = :tenant", tenant=tenant),
                missing=_rows(connection, f"({_missing(table)}) AS missing", tenant=tenant),
                extra=_rows(connection, f"({_extra(table)}) AS extra", **parameters),
            )
        )
    return tables


def _rows(connection: Connection, source: str, **parameters: Any) -> int:
    statement = text(f"SELECT count(*) FROM {source}")  # noqa: S608 - the names are ours
    return int(connection.execute(statement, parameters).scalar_one())


def _differs(group: ColumnGroup) -> str:
    """Return the SQL condition that a column group differs.

    Versions are not compared: another release may make other versions of the same facts.
    """
    columns = _compared_columns(group)
    live, rebuilt = (", ".join(f"{side}.{column}" for column in columns) for side in ("live", "rebuilt"))
    return f"({live}) IS DISTINCT FROM ({rebuilt})"


def _compared_columns(group: ColumnGroup) -> list[str]:
    """Return the columns to compare: without ``raw``, which repeats the others, unless it is the only column."""
    columns = [column for column in group.columns if column != "raw"] or list(group.columns)
    return [*columns, group.at]


@cache
def _compare(kind: str) -> str:
    """Return the statement that records the differences of a kind. Index: the primary keys, or a hash of each side."""
    mirror = MIRRORS[kind]
    columns = [column for group in mirror.groups for column in _compared_columns(group)]
    groups = ", ".join(f"CASE WHEN {_differs(group)} THEN '{group.name}' END" for group in mirror.groups)
    named = ", ".join(f"CASE WHEN live.{name} IS DISTINCT FROM rebuilt.{name} THEN '{name}' END" for name in columns)
    return f"""
INSERT INTO {REBUILD}.difference (kind, entity_id, what, groups, columns, live, rebuilt)
SELECT '{kind}',
       {mirror.key},
       CASE WHEN live.tenant IS NULL THEN 'missing' WHEN rebuilt.tenant IS NULL THEN 'extra' ELSE 'different' END,
       array_remove(ARRAY[{groups}], NULL),
       array_remove(ARRAY[{named}], NULL),
       to_jsonb(live) - 'raw',
       to_jsonb(rebuilt) - 'raw'
  FROM {mirror.rows()} AS live
  FULL JOIN {mirror.rows(REBUILD)} AS rebuilt USING ({mirror.key})
 WHERE ({" OR ".join(_differs(group) for group in mirror.groups)})
   AND NOT EXISTS (
       SELECT FROM {REBUILD}.moving
        WHERE moving.kind = '{kind}'
          AND moving.entity_id = {mirror.key})
"""  # noqa: S608 - the names are ours


def _missing(table: str) -> str:
    """Return the query of the rows that only the rebuilt history table has; nulls are equal."""
    key = ", ".join(unique_columns(table))
    return f"""
SELECT {key} FROM {REBUILD}.{table} WHERE tenant = :tenant
EXCEPT
SELECT {key} FROM charging.{table} WHERE tenant = :tenant
"""  # noqa: S608 - the names are ours


def _first_id(log_begins_at: datetime | None) -> UUID | None:
    return None if log_begins_at is None else first_made_at(log_begins_at)


def _extra(table: str) -> str:
    """Return the query of the rows of a live history table that come from the log, but not in the present release.

    The query's parameter ``first_id`` is the smallest possible id of a notification in the log; null for none.
    """
    key = ", ".join(unique_columns(table))
    has_source = "source" in metadata.tables[f"{CHARGING}.{table}"].columns
    source_condition = "source = 'notification' AND " if has_source else ""
    return f"""
SELECT {key}
  FROM charging.{table}
 WHERE tenant = :tenant
   AND {source_condition}notification_id >= CAST(:first_id AS uuid)
EXCEPT
SELECT {key} FROM {REBUILD}.{table} WHERE tenant = :tenant
"""  # noqa: S608 - the names are ours


_EXAMPLES = f"""
SELECT kind, entity_id, what, columns, live, rebuilt
  FROM (SELECT *, row_number() OVER (PARTITION BY kind, what ORDER BY entity_id) AS number
          FROM {REBUILD}.difference) AS numbered
 WHERE number <= :limit
 ORDER BY kind, what, entity_id
"""  # noqa: S608 - the names are ours


def examples(connection: Connection, tenant: str, log_begins_at: datetime | None, *, limit: int) -> list[Difference]:
    """Return up to ``limit`` differences of each table and of each value of :attr:`Difference.what`."""
    differences = []
    for kind, entity_id, what, columns, live, rebuilt in connection.execute(text(_EXAMPLES), {"limit": limit}):
        # Raw JSON is left out: it is long, and may contain data about people.
        shown = [name for name in columns if name != "raw"]
        changes = {name: ((live or {}).get(name), (rebuilt or {}).get(name)) for name in shown}
        differences.append(Difference(kind, str(entity_id), what, changes))
    for table in HISTORY:
        for what, statement in (("missing", _missing(table)), ("extra", _extra(table))):
            rows = connection.execute(
                text(f"SELECT * FROM ({statement}) AS differing LIMIT :limit"),  # noqa: S608 - the names are ours
                {"tenant": tenant, "limit": limit}
                | ({"first_id": _first_id(log_begins_at)} if what == "extra" else {}),
            )
            for row in rows.mappings():
                key = ", ".join(f"{name} {value}" for name, value in row.items() if name != "tenant")
                differences.append(Difference(table, key, what, {}))
    return differences
