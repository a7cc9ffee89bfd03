"""The state computed anew from the log, in a schema of its own beside the live one.

What the log holds is folded into tables that are made like the live ones. What the log
cannot hold is *carried over* from the live tables by the same upsert, so that the result is
what folding the log and the reads together gives:

- groups whose fact a read told: no read is in the log. Tombstones are among them.
- groups whose fact is older than the log, in rows that are older than the log: their
  notifications were dropped with their partitions.
- provisional facts of the entities that reads tell provisionally.

What then still differs between the two is told, table by table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, UniqueConstraint, text

from storage.changes import Entity
from storage.ids import first_made_at
from storage.mirrors import MIRRORS, ColumnGroup
from storage.tables import CHARGING, metadata
from storage.upsert import stored_columns, upsert_statement
from storage.version import is_provisional_sql, is_read_sql

REBUILD = "charging_rebuild"

#: A rebuild's statements run over whole tables.
STATEMENT_TIMEOUT_MS = 3_600_000

#: A read of a session tells its authorization in older words, as a partial fact.
TOLD_PROVISIONALLY_BY_READS = frozenset({"authorization"})

#: The tables of the mirrored kinds; some kinds share one.
STATE: tuple[str, ...] = tuple(dict.fromkeys(mirror.name for mirror in MIRRORS.values()))

#: The history tables: each row is known by its unique constraint. What a session was before it
#: was corrected depends on when we learned it, which no log tells.
HISTORY: tuple[str, ...] = tuple(
    sorted(
        table.name
        for table in metadata.tables.values()
        if table.schema == CHARGING and table.name not in (*STATE, "session_revision")
    )
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not what the log and the reads make it.

    Attributes:
        what: ``missing`` from the live table, ``extra`` in it, or ``different``.
        changes: each column that differs, with its live and its rebuilt value.
    """

    table: str
    key: str
    what: str
    changes: dict[str, tuple[Any, Any]]


@dataclass(slots=True)
class Compared:
    """A live table beside the rebuilt one; the numbers are rows.

    Attributes:
        moving: rows that were not judged, as a worker had them in hand.
    """

    table: str
    live: int
    missing: int = 0
    extra: int = 0
    different: int = 0
    moving: int = 0

    @property
    def differs(self) -> bool:
        return bool(self.missing or self.extra or self.different)


def make(connection: Connection) -> None:
    """Make the schema anew, with empty tables; what crashes leave behind goes first.

    The tables are not logged: they are worth nothing after a crash.
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
    """Remove the schema."""
    connection.execute(text(f"DROP SCHEMA IF EXISTS {REBUILD} CASCADE"))


def take_time(connection: Connection) -> None:
    """Let the statements of this transaction run over whole tables."""
    connection.execute(text(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}"))


@cache
def unique_columns(table: str) -> tuple[str, ...]:
    """The columns that tell the rows of a history table apart."""
    (constraint,) = (
        one for one in metadata.tables[f"{CHARGING}.{table}"].constraints if isinstance(one, UniqueConstraint)
    )
    return tuple(column.name for column in constraint.columns)


def carry(connection: Connection, tenant: str, log_begins_at: datetime | None) -> None:
    """Fold into the rebuilt tables what the log cannot hold; after the log, or before it, is all the same.

    Parameters:
        log_begins_at: when the oldest notification of the log was received; None where it holds none.
    """
    for kind in MIRRORS:
        connection.execute(
            text(upsert_statement(kind, REBUILD, _carried(kind))),
            {"tenant": tenant, "log_begins_at": log_begins_at},
        )


@cache
def _carried(kind: str) -> str:
    mirror = MIRRORS[kind]
    columns = [*mirror.keys]
    for group in mirror.groups:
        told = _is_beyond_the_log(kind, group)
        columns += [
            f"{told} AND {column} AS {column}"
            if column == group.conflicting
            else f"CASE WHEN {told} THEN {column} END AS {column}"
            for column in stored_columns(group)
        ]
    beyond = " OR ".join(_is_beyond_the_log(kind, group) for group in mirror.groups)
    listed = ", ".join(columns)
    return f"(SELECT {listed} FROM {mirror.rows()} AS live WHERE {beyond}) AS carried"  # noqa: S608 - ours


def _is_beyond_the_log(kind: str, group: ColumnGroup) -> str:
    """Whether no notification of the log accounts for the fact of a group; never null."""
    cases = [
        is_read_sql(group.version),
        # Nothing is older than a log that was never cut: its rows came with it.
        "(first_seen_at < coalesce(CAST(:log_begins_at AS timestamptz), 'infinity')"
        f" AND {group.at} < coalesce(CAST(:log_begins_at AS timestamptz), 'infinity'))",
    ]
    if kind in TOLD_PROVISIONALLY_BY_READS:
        cases.append(f"({is_provisional_sql(group.version)})")
    return f"coalesce({' OR '.join(cases)}, false)"


def note_moving(connection: Connection, entities: Sequence[Entity]) -> None:
    """Leave entities out of the comparison: a worker has notifications of them in hand."""
    connection.execute(
        text(f"""
        INSERT INTO {REBUILD}.moving (kind, entity_id)
        SELECT *
          FROM unnest(CAST(:kinds AS text[]), CAST(:ids AS bigint[]))
            ON CONFLICT DO NOTHING
        """),  # noqa: S608 - the names are ours
        {
            "kinds": [one.kind for one in entities],
            "ids": [one.entity_id for one in entities],
        },
    )


def compare(connection: Connection, tenant: str, log_begins_at: datetime | None) -> list[Compared]:
    """Note and count what differs; in the snapshot in which the rebuilt tables were finished."""
    found = []
    for kind in MIRRORS:
        connection.execute(text(_compare(kind)), {"tenant": tenant})
        rows = connection.execute(
            text(f"SELECT what, count(*) FROM {REBUILD}.difference WHERE kind = :kind GROUP BY what"),  # noqa: S608
            {"kind": kind},
        )
        counts = {what: int(number) for what, number in rows}
        found.append(
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
        found.append(
            Compared(
                table,
                live=_rows(connection, f"charging.{table} WHERE tenant = :tenant", tenant=tenant),
                missing=_rows(connection, f"({_missing(table)}) AS missing", tenant=tenant),
                extra=_rows(connection, f"({_extra(table)}) AS extra", **parameters),
            )
        )
    return found


def _rows(connection: Connection, source: str, **parameters: Any) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM {source}"), parameters).scalar_one())  # noqa: S608 - ours


def _differs(group: ColumnGroup) -> str:
    """Versions are left out: what a fact says of which columns may change with a release."""
    columns = _compared_columns(group)
    live, rebuilt = (", ".join(f"{side}.{column}" for column in columns) for side in ("live", "rebuilt"))
    return f"({live}) IS DISTINCT FROM ({rebuilt})"


def _compared_columns(group: ColumnGroup) -> list[str]:
    """All but ``raw``, which repeats the others in AMPECO's words, unless it is all there is."""
    told = [column for column in group.columns if column != "raw"] or list(group.columns)
    return [*told, group.at]


@cache
def _compare(kind: str) -> str:
    """Index: the primary keys, or a hash of each side."""
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
    """Rows of a rebuilt history table that the live one lacks; nulls are alike."""
    key = ", ".join(unique_columns(table))
    return f"""
SELECT {key} FROM {REBUILD}.{table} WHERE tenant = :tenant
EXCEPT
SELECT {key} FROM charging.{table} WHERE tenant = :tenant
"""  # noqa: S608 - the names are ours


def _first_id(log_begins_at: datetime | None) -> UUID | None:
    return None if log_begins_at is None else first_made_at(log_begins_at)


def _extra(table: str) -> str:
    """Rows of a live history table that a notification of the log told once, and tells no more.

    Parameters of the statement: ``first_id``, the least id of a notification that the log still holds; null for none.
    """
    key = ", ".join(unique_columns(table))
    told = "source = 'notification' AND " if "source" in metadata.tables[f"{CHARGING}.{table}"].columns else ""
    return f"""
SELECT {key}
  FROM charging.{table}
 WHERE tenant = :tenant
   AND {told}notification_id >= CAST(:first_id AS uuid)
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
    """A few differences of each table and sort."""
    found = []
    for kind, entity_id, what, columns, live, rebuilt in connection.execute(text(_EXAMPLES), {"limit": limit}):
        # Raw JSON is no example: it is long, and may tell of people.
        told = [name for name in columns if name != "raw"]
        changes = {name: ((live or {}).get(name), (rebuilt or {}).get(name)) for name in told}
        found.append(Difference(kind, str(entity_id), what, changes))
    for table in HISTORY:
        for what, statement in (("missing", _missing(table)), ("extra", _extra(table))):
            rows = connection.execute(
                text(f"SELECT * FROM ({statement}) AS found LIMIT :limit"),  # noqa: S608 - the names are ours
                {"tenant": tenant, "limit": limit}
                | ({"first_id": _first_id(log_begins_at)} if what == "extra" else {}),
            )
            for row in rows.mappings():
                key = ", ".join(f"{name} {value}" for name, value in row.items() if name != "tenant")
                found.append(Difference(table, key, what, {}))
    return found
