"""Writing folded rows: one statement a table, with the guard that refuses older facts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from textwrap import dedent
from uuid import UUID

from sqlalchemy import Connection, text

from storage.changes import Entity, SessionFact
from storage.documents import to_json
from storage.fold import Fold
from storage.mirrors import MIRRORS, ColumnGroup, Mirror
from storage.revisions import lock_stopped, record_revisions
from storage.tables import CHARGING
from storage.version import conflicts_sql, is_read_sql

#: Keys of a resource's own JSON that move without a change of the resource; they have columns with clocks of
#: their own.
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


def upsert(
    connection: Connection,
    tenant: str,
    fold: Fold,
    *,
    schema: str = CHARGING,
    source_notifications: Mapping[SessionFact, UUID] | None = None,
    skip_confirmed: bool = False,
) -> list[Entity]:
    """Write every folded fact that is newer than what is stored.

    Tables are written in the order of ``MIRRORS`` and rows in key order, so that
    concurrent writers never deadlock.

    Parameters:
        schema: where the tables are; another one than that of the state holds a rebuild.
        source_notifications: the notifications that told the facts of sessions, for their revisions.
        skip_confirmed: for reads: leave alone the rows of which everything is stored as a read shows it.

    Returns:
        The entities that a read has to settle.
    """
    conflicting: list[Entity] = []
    for kind in fold.entities():
        rows = fold.rows(kind, tenant)
        is_session = kind == "session" and schema == CHARGING
        stopped = lock_stopped(connection, tenant, [row["session_id"] for row in rows]) if is_session else {}
        statement = upsert_statement(kind, schema, skip_confirmed=skip_confirmed)
        written = connection.execute(text(statement), {"rows": to_json(rows)})
        conflicting += [Entity(kind, entity_id) for entity_id, in_doubt in written if in_doubt]
        record_revisions(connection, tenant, stopped, source_notifications or {})
    return conflicting


@cache
def upsert_statement(
    kind: str, schema: str = CHARGING, source: str | None = None, *, skip_confirmed: bool = False
) -> str:
    """The upsert of one mirrored table; its rows come as one JSON array, ``:rows``.

    Index: the table's primary key. A row of which nothing is newer is not touched.

    Parameters:
        source: what the rows are selected from instead.
        skip_confirmed: whether a row is not touched either whose newer facts are of reads and say what is
            stored by a read already (see :func:`_confirmed`).
    """
    mirror = MIRRORS[kind]
    columns = [*mirror.keys, *(column for group in mirror.groups for column in stored_columns(group))]
    assignments = [line for group in mirror.groups for line in _assignments(group)]
    listed = ", ".join(columns)
    return dedent(
        """\
        INSERT INTO {schema}.{table} AS known ({columns})
        SELECT {columns}
          FROM {source}
         ORDER BY {keys}
            ON CONFLICT ({keys}) DO UPDATE SET
               {assignments},
               updated_at = now()
         WHERE {changed}
        RETURNING {key}, {conflicting}
        """
    ).format(
        schema=schema,
        table=mirror.name,
        source=source or f"json_populate_recordset(NULL::charging.{mirror.name}, CAST(:rows AS json))",
        key=mirror.key,
        keys=", ".join(mirror.keys),
        columns=listed,
        assignments=",\n               ".join(assignments),
        changed="\n            OR ".join(
            _changed(group, _is_news(mirror, group, skip_confirmed)) for group in mirror.groups
        ),
        conflicting=" OR ".join(f"known.{group.conflicting}" for group in mirror.groups),
    )


def stored_columns(group: ColumnGroup) -> tuple[str, ...]:
    """A group's columns, and the three of its clock."""
    return (*group.columns, group.at, group.version, group.conflicting)


def _newer(group: ColumnGroup) -> str:
    """True where the offered fact stands above the known one; null where none is offered."""
    return (
        f"(excluded.{group.at} IS NOT NULL AND (known.{group.at} IS NULL"
        f" OR (excluded.{group.at}, excluded.{group.version}) > (known.{group.at}, known.{group.version})))"
    )


def _settled(group: ColumnGroup) -> str:
    """A read no older than what is known, of the same time: whatever it says is settled."""
    return f"({is_read_sql(f'excluded.{group.version}')} AND excluded.{group.version} >= known.{group.version})"


def _conflict(group: ColumnGroup) -> str:
    """Whether facts of equal time contradict each other."""
    return conflicts_sql(f"excluded.{group.version}", f"known.{group.version}")


def _assignments(group: ColumnGroup) -> list[str]:
    newer = _newer(group)
    lines = [
        f"{column} = CASE WHEN {newer} THEN excluded.{column} ELSE known.{column} END"
        for column in (*group.columns, group.at, group.version)
    ]
    lines.append(
        f"{group.conflicting} = CASE"
        f" WHEN excluded.{group.at} IS NULL OR excluded.{group.at} < known.{group.at} THEN known.{group.conflicting}"
        f" WHEN known.{group.at} IS NULL OR excluded.{group.at} > known.{group.at} THEN excluded.{group.conflicting}"
        f" WHEN {_settled(group)} THEN false"
        f" ELSE known.{group.conflicting} OR excluded.{group.conflicting} OR {_conflict(group)} END"
    )
    return lines


def _changed(group: ColumnGroup, is_news: str) -> str:
    doubt = (
        f"(excluded.{group.at} = known.{group.at} AND NOT known.{group.conflicting}"
        f" AND (excluded.{group.conflicting} OR {_conflict(group)}))"
    )
    settling = f"(excluded.{group.at} = known.{group.at} AND known.{group.conflicting} AND {_settled(group)})"
    return f"{is_news} OR {doubt} OR {settling}"


def _is_news(mirror: Mirror, group: ColumnGroup, skip_confirmed: bool) -> str:
    """Whether the offered fact is newer, and not merely confirms what is stored where that is skipped.

    A row that is conflicting is written all the same, and so is told to be.
    """
    if not skip_confirmed:
        return _newer(group)
    is_conflicting = " OR ".join(f"known.{one.conflicting}" for one in mirror.groups)
    return f"({_newer(group)} AND (({_confirmed(mirror, group)}) IS NOT TRUE OR {is_conflicting}))"


def _confirmed(mirror: Mirror, group: ColumnGroup) -> str:
    """Whether a read says what a read said that is stored, so that its later begin may go unwritten.

    Such a begin would decide only between a fact that is older than this read, newer than the stored one, and
    different. There is none to come: a notification never stands above a read of its own time, and what orders
    the facts of ``presence`` is the begin itself, which reads alone tell. Two reads that overlap, and are
    written in the other order, are what is left; whichever of them is wrong, the next read puts it right.
    """
    columns = [*group.columns] if group.name == "presence" else [*group.columns, group.at]
    ours, theirs = (", ".join(_compared(side, mirror, one) for one in columns) for side in ("excluded", "known"))
    are_reads = " AND ".join(is_read_sql(f"{side}.{group.version}") for side in ("excluded", "known"))
    return f"{are_reads} AND ({ours}) IS NOT DISTINCT FROM ({theirs})"


def _compared(side: str, mirror: Mirror, column: str) -> str:
    if column == "raw" and mirror.name in STATUSES_IN_RAW:
        return f"{side}.raw - ARRAY[{', '.join(map(repr, STATUSES_IN_RAW[mirror.name]))}]"
    return f"{side}.{column}"
