"""Write folded rows, with one statement for each table, whose condition refuses older facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from textwrap import dedent
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from storage.documents import to_json
from storage.schema.entities import MIRRORS, ColumnGroup, Mirror
from storage.schema_names import CHARGING
from storage.state.changes import Entity, FactKey
from storage.state.fold import Fold
from storage.state.revisions import lock_stopped, record_revisions
from storage.state.version import conflicts_sql, is_read_sql, settles_sql

#: Keys in the column ``raw`` that change without an update of the entity; columns with clocks of their own contain
#: their values.
STATUSES_IN_RAW = {
    "evse": ("hardwareStatus", "lastHardwareStatusUpdateAt"),
    "charge_point": (
        "hardwareStatus",
        "lastHardwareStatusUpdateAt",
        "networkStatus",
        "lastNetworkStatusUpdateAt",
        "vendorErrorCode",
    ),
}


class Written(NamedTuple):
    """What an upsert wrote.

    Attributes:
        changed: the entities whose rows changed.
        conflicting: those of them whose facts contradict each other.
        new: those of them that had no row before.
        parents: the children among them, each with the ids of the parents that it has now and had before.
    """

    changed: list[Entity]
    conflicting: list[Entity]
    new: list[Entity]
    parents: dict[Entity, set[int]]


def upsert(
    connection: Connection,
    tenant: str,
    fold: Fold,
    *,
    schema: str = CHARGING,
    source_notifications: Mapping[FactKey, UUID] | None = None,
    skip_confirmed: bool = False,
) -> Written:
    """Write all folded facts that are newer than the stored ones.

    Tables are written in the order of ``MIRRORS`` and rows in key order, so that
    concurrent writers never deadlock.

    Parameters:
        fold: the folded facts.
        schema: the schema of the tables; a rebuild has its own.
        source_notifications: the notifications that contain the facts, for revisions of sessions.
        skip_confirmed: for reads: do not write a row if a read has already stored all that this read shows.

    Returns:
        The entities whose rows changed, and those that are conflicting, which a read must resolve.
    """
    changed: list[Entity] = []
    conflicting: list[Entity] = []
    new: list[Entity] = []
    parents: dict[Entity, set[int]] = {}
    for kind in fold.kinds():
        rows = fold.rows(kind)
        if MIRRORS[kind].parent is not None and schema == CHARGING:
            children = _upsert_children(connection, tenant, kind, rows, skip_confirmed)
            changed += children.changed
            conflicting += children.conflicting
            new += children.new
            parents |= children.parents
            continue
        is_session = kind == "session" and schema == CHARGING
        stopped = lock_stopped(connection, tenant, [row["session_id"] for row in rows]) if is_session else {}
        statement = upsert_statement(kind, schema, skip_confirmed=skip_confirmed)
        flags = connection.execute(statement, {"tenant": tenant, "rows": to_json(rows)}).all()
        changed += [Entity(kind, entity_id) for entity_id, *_ in flags]
        conflicting += [Entity(kind, entity_id) for entity_id, is_conflicting, *_ in flags if is_conflicting]
        new += [Entity(kind, entity_id) for entity_id, _, is_new, *_ in flags if is_new]
        record_revisions(connection, tenant, stopped, source_notifications or {})
    return Written(changed, conflicting, new, parents)


def _upsert_children(
    connection: Connection, tenant: str, kind: str, rows: Sequence[Mapping[str, Any]], skip_confirmed: bool
) -> Written:
    """Write rows of children, and return the parents that each of them has now and had before.

    No older Postgres than 18 returns the former values of a row that ``INSERT ... ON CONFLICT`` updates. To lock the
    rows first would break the order of locks, because rows to insert cannot be locked. So the first upsert of a row
    that would move to another parent only renews its ``updated_at``, which locks it in its turn, and returns the
    parent that it has. A second upsert writes it. If no child moves, there is no second one. Index: primary key.
    """
    key, parent_key = MIRRORS[kind].key, MIRRORS[kind].parent_key
    given = {row[key]: row for row in rows}
    written: dict[int, Mapping[str, Any]] = {}
    parents: dict[Entity, set[int]] = {}
    pending = list(rows)
    for keeps_parent in (True, False):
        statement = upsert_statement(kind, skip_confirmed=skip_confirmed, keeps_parent=keeps_parent)
        parameters = {"tenant": tenant, "rows": to_json(pending)}
        shown = {row[key]: row for row in connection.execute(statement, parameters).mappings()}
        written |= shown
        for child_id, row in shown.items():
            parents.setdefault(Entity(kind, child_id), set()).update({row[parent_key]} - {None})
        pending = [
            given[child_id]
            for child_id, row in shown.items()
            if row[parent_key] is not None and given[child_id].get(parent_key) not in (None, row[parent_key])
        ]
        if not pending:
            break
    entities = {Entity(kind, child_id): row for child_id, row in sorted(written.items())}
    return Written(
        list(entities),
        [entity for entity, row in entities.items() if row["is_conflicting"]],
        [entity for entity, row in entities.items() if row["is_new"]],
        parents,
    )


@cache
def upsert_statement(
    kind: str,
    schema: str = CHARGING,
    source: str | None = None,
    *,
    skip_confirmed: bool = False,
    keeps_parent: bool = False,
) -> TextClause:
    """Return the upsert of one kind; its parameters are the tenant and ``rows``, a JSON array of rows.

    Index: the table's primary key. A row without newer facts is not updated.

    Parameters:
        kind: the kind of entity.
        schema: the schema of the table.
        source: a SQL source of the rows, instead of the parameter.
        skip_confirmed: whether to leave a row unchanged, too, if its newer facts are of reads and have the values
            that an earlier read has stored (see :func:`_confirmed`).
        keeps_parent: whether to keep the facts of the existing rows of children that would move to another parent: of
            these rows only ``updated_at`` changes, so that the former parent is returned.
    """
    mirror = MIRRORS[kind]
    columns = [*mirror.keys[1:], *(column for group in mirror.groups for column in stored_columns(group))]
    is_kept = None
    if keeps_parent:
        is_kept = f"coalesce(known.{mirror.parent_key} <> excluded.{mirror.parent_key}, false)"
    assignments = [line for group in mirror.groups for line in _assignments(group, is_kept)]
    listed = ", ".join(columns)
    statement = dedent(
        """\
        INSERT INTO {schema}.{table} AS known (tenant, {columns})
        SELECT :tenant, {columns}
          FROM {source}
         ORDER BY {order}
            ON CONFLICT ({keys}) DO UPDATE SET
               {assignments},
               updated_at = excluded.updated_at
         WHERE {changed}
        RETURNING {returned}
        """
    ).format(
        schema=schema,
        table=mirror.name,
        source=source or f"json_populate_recordset(NULL::charging.{mirror.name}, CAST(:rows AS json))",
        keys=", ".join(mirror.keys),
        order=", ".join(mirror.keys[1:]),
        columns=listed,
        assignments=",\n               ".join(assignments),
        changed="\n            OR ".join(
            _changed(group, _is_news(mirror, group, skip_confirmed)) for group in mirror.groups
        ),
        returned=_returned(mirror),
    )
    return text(statement)


def _returned(mirror: Mirror) -> str:
    conflicting = " OR ".join(f"known.{group.conflicting}" for group in mirror.groups)
    is_new = "known.first_seen_at = known.updated_at AS is_new"
    returned = f"known.{mirror.key}, {conflicting} AS is_conflicting, {is_new}"
    if mirror.parent is not None:
        returned += f", known.{mirror.parent_key}"
    return returned


def stored_columns(group: ColumnGroup) -> tuple[str, ...]:
    """Return the columns of a column group, including its time, its version and its conflict flag."""
    return (*group.columns, group.at, group.version, group.conflicting)


def _newer(group: ColumnGroup) -> str:
    """Return the SQL condition that the new fact wins over the stored one; false if there is no new fact."""
    return (
        f"(excluded.{group.at} IS NOT NULL AND (known.{group.at} IS NULL"
        f" OR (excluded.{group.at}, excluded.{group.version}) > (known.{group.at}, known.{group.version})))"
    )


def _settles(group: ColumnGroup) -> str:
    """Return the SQL condition that the new fact, of the stored time, ends what was in doubt."""
    return settles_sql(f"excluded.{group.version}", f"known.{group.version}")


def _conflicts(group: ColumnGroup) -> str:
    """Return the SQL condition that the new fact, of the stored time, contradicts the stored one."""
    return conflicts_sql(f"excluded.{group.version}", f"known.{group.version}", f"excluded.{group.conflicting}")


def _assignments(group: ColumnGroup, is_kept: str | None) -> list[str]:
    """Return the assignments of a column group; the SQL condition ``is_kept`` says whether a row keeps its facts."""
    newer = _newer(group) if is_kept is None else f"{_newer(group)} AND NOT {is_kept}"
    kept = "" if is_kept is None else f" WHEN {is_kept} THEN known.{group.conflicting}"
    lines = [
        f"{column} = CASE WHEN {newer} THEN excluded.{column} ELSE known.{column} END"
        for column in (*group.columns, group.at, group.version)
    ]
    lines.append(
        f"{group.conflicting} = CASE{kept}"
        f" WHEN excluded.{group.at} IS NULL OR excluded.{group.at} < known.{group.at} THEN known.{group.conflicting}"
        f" WHEN known.{group.at} IS NULL OR excluded.{group.at} > known.{group.at} OR {_settles(group)}"
        f" THEN excluded.{group.conflicting}"
        f" ELSE known.{group.conflicting} OR {_conflicts(group)} END"
    )
    return lines


def _changed(group: ColumnGroup, is_news: str) -> str:
    """Return the SQL condition that the upsert changes a column group: its fact or its conflict flag."""
    is_of_stored_time = f"excluded.{group.at} = known.{group.at}"
    raises_conflict = f"({is_of_stored_time} AND NOT known.{group.conflicting} AND {_conflicts(group)})"
    ends_conflict = f"({is_of_stored_time} AND known.{group.conflicting} AND {_settles(group)})"
    return f"{is_news} OR {raises_conflict} OR {ends_conflict}"


def _is_news(mirror: Mirror, group: ColumnGroup, skip_confirmed: bool) -> str:
    """Return the SQL condition that the new fact is newer and, with ``skip_confirmed``, not only a confirmation.

    A conflicting row is written in any case, so that the statement returns it.
    """
    if not skip_confirmed:
        return _newer(group)
    is_conflicting = " OR ".join(f"known.{each.conflicting}" for each in mirror.groups)
    return f"({_newer(group)} AND (({_confirmed(mirror, group)}) IS NOT TRUE OR {is_conflicting}))"


def _confirmed(mirror: Mirror, group: ColumnGroup) -> str:
    """Return the SQL condition that a read shows the values that a read has stored.

    The version of the new fact then differs only by the later begin of its read, which need not be written. The
    begin would only matter for a different fact that is older than this read and newer than the stored one. No such
    fact can arrive later: a notification never wins over a read of its own time, and facts of ``presence`` come from
    reads only, whose begin is their time. The only exception are two overlapping reads that are written in the
    other order; if the wrong one wins, the next read corrects it.
    """
    columns = [*group.columns] if group.name == "presence" else [*group.columns, group.at]
    new, stored = (", ".join(_compared(side, mirror, column) for column in columns) for side in ("excluded", "known"))
    are_reads = " AND ".join(is_read_sql(f"{side}.{group.version}") for side in ("excluded", "known"))
    return f"{are_reads} AND ({new}) IS NOT DISTINCT FROM ({stored})"


def _compared(side: str, mirror: Mirror, column: str) -> str:
    """Return the SQL expression of a column to compare; of ``raw`` without the keys in ``STATUSES_IN_RAW``."""
    if column == "raw" and mirror.name in STATUSES_IN_RAW:
        return f"{side}.raw - ARRAY[{', '.join(map(repr, STATUSES_IN_RAW[mirror.name]))}]"
    return f"{side}.{column}"
