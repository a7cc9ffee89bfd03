"""Write derived rows with change numbers: only rows that differ are written, and each gets the next number.

One transaction at a time derives for a tenant, because it locks the tenant's row of ``analytics.feed``. So numbers are
in the order of commits and have no gaps, and a reader that follows them misses nothing.

A table is derived from rows that Python computed (:meth:`Work.write_rows`), or by a query (:meth:`Work.write_query`).
Both return what changed, so that what is derived from these rows follows in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import Column, Connection, RowMapping, TextClause, text
from sqlalchemy.dialects import postgresql

from analytics.schema.derived import Derived, limit_of
from analytics.scope import Reach, Scope, merged, scope_json, scope_sql, whole, widen
from storage.documents import to_json


@dataclass(slots=True)
class Work:
    """One transaction that derives for a tenant.

    Attributes:
        connection: the connection, in the transaction that holds the tenant's row of ``analytics.feed``.
        tenant: the tenant's name.
        now: the time of all its changes.
        last: the last number that was given.
        marked: the entities that were marked, by kind.
        changed: the entities whose derived rows have changed, by the name of the table, each with the earliest time.
        touched: the EVSEs to which changed rows belong or belonged before, by the name of the table, each with the
            earliest and the latest time to which one belongs or belonged; see ``placed`` of the table.
    """

    connection: Connection
    tenant: str
    now: datetime
    last: int
    marked: dict[str, Scope] = field(default_factory=dict)
    changed: dict[str, Scope] = field(default_factory=dict)
    touched: dict[str, dict[int, Reach]] = field(default_factory=dict)

    def marks(self, kind: str) -> Scope:
        """Return the entities of a kind that were marked."""
        return self.marked.get(kind, {})

    def changes(self, table: str) -> Scope:
        """Return the entities whose rows in a derived table have changed in this transaction."""
        return self.changed.get(table, {})

    def touches(self, table: str) -> Mapping[int, Reach]:
        """Return the EVSEs to which changed rows of a derived table belong or belonged before."""
        return self.touched.get(table, {})

    def read(self, statement: TextClause, **parameters: Any) -> list[RowMapping]:
        """Return the rows of a query; it may refer to ``:tenant``."""
        return list(self.connection.execute(statement, {"tenant": self.tenant, **parameters}).mappings())

    def read_ids(self, statement: TextClause, **parameters: Any) -> Scope:
        """Return the entities whose ids are the first column of a query, as a whole; it may refer to ``:tenant``."""
        return whole(self.connection.execute(statement, {"tenant": self.tenant, **parameters}).scalars())

    def write_rows(self, derived: Derived, scope: Scope, rows: Sequence[Mapping[str, Any]], among: str = "") -> Scope:
        """Make a derived table hold exactly these rows within a scope.

        Parameters:
            derived: the table.
            scope: the entities that were derived, each with the time from which on its rows were; None: all its rows.
            rows: the rows of the scope, with the key and all columns.
            among: a condition of SQL on ``known``: only these rows of the table belong to the scope.

        Returns:
            The entities whose rows changed or went, each with the earliest time of such a row.
        """
        if not scope:
            return {}
        name, parameters = derived.table.name, {"rows": to_json(rows)}
        # Rows that went are removed first: a row may take over a unique value of one of them.
        gone = self.write(name, _removal_of_rows(derived, among), {"scope": scope_json(scope), **parameters})
        written = self.write(name, _upsert_of_rows(derived), parameters)
        return merged(gone, written)

    def write_query(
        self,
        derived: Derived,
        scope: Scope,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        among: str = "",
    ) -> Scope:
        """Make a derived table hold exactly the rows of a query within a scope.

        Parameters:
            derived: the table; its rows have no unique values but the key.
            scope: the entities that were derived, each with the time from which on its rows were; None: all its rows.
            query: a query with the key and all columns. It may refer to ``scope (entity_id, since)`` and ``:tenant``.
            parameters: further parameters of the query.
            among: a condition of SQL on ``known``: only these rows of the table belong to the scope.

        Returns:
            The entities whose rows changed or went, each with the earliest time of such a row.
        """
        if not scope:
            return {}
        statement = _write_of_query(derived, query, among)
        return self.write(derived.table.name, statement, {"scope": scope_json(scope), **(parameters or {})})

    def write(self, name: str, statement: str, parameters: Mapping[str, Any]) -> Scope:
        """Run a statement that writes rows of a table and numbers them itself.

        Parameters:
            name: the name of the table, without its schema.
            statement: SQL that gives its rows the numbers from ``:last`` + 1 on, without a gap, and the time
                ``:changed_at``. It returns each entity that it changed, how many numbers it gave to its rows, and the
                earliest time of them, or null; and, if it knows, an EVSE to which such rows belong or belonged, and
                the earliest and the latest time to which one does.
            parameters: its other parameters, besides ``:tenant``.

        Returns:
            The entities whose rows changed, each with the earliest time of such a row.
        """
        common: dict[str, Any] = {"tenant": self.tenant, "last": self.last, "changed_at": self.now}
        changed: Scope = {}
        touched = self.touched.setdefault(name, {})
        for entity_id, count, since, *place in self.connection.execute(_parsed(statement), common | dict(parameters)):
            self.last += int(count)
            if count:
                widen(changed, entity_id, since)
            if place and None not in place:
                evse_id, first, last = place
                known = touched.get(evse_id, Reach(first, last))
                touched[evse_id] = Reach(min(first, known.since), max(last, known.until))
        self.changed[name] = merged(self.changes(name), changed)
        return changed


@lru_cache(maxsize=256)
def _parsed(statement: str) -> TextClause:
    """Return a statement whose parameters were found; in one of several thousand characters, that takes a while."""
    return text(statement)


def _rows(derived: Derived) -> str:
    return f"json_populate_recordset(NULL::{derived.name}, CAST(:rows AS json))"


def _listed(names: Sequence[str], alias: str) -> str:
    return ", ".join(f"{alias}.{name}" for name in names)


def _same_key(derived: Derived, one: str, other: str) -> str:
    return " AND ".join(f"{one}.{name} = {other}.{name}" for name in derived.key)


def _returned(derived: Derived, alias: str) -> str:
    """Return what :func:`_summed` counts: the entity and the time of a row."""
    since = "CAST(NULL AS timestamptz)" if derived.since is None else f"{alias}.{derived.since}"
    return f"{alias}.{derived.entity} AS changed_entity, {since} AS changed_since, 1 AS written"


_NO_PLACE = ("CAST(NULL AS bigint)", "CAST(NULL AS timestamptz)")


def _place(derived: Derived, alias: str, suffix: str = "") -> str:
    """Return the EVSE and the time to which a row belongs."""
    evse, at = (f"{alias}.{name}" for name in derived.placed[:2]) if derived.placed else _NO_PLACE
    return f"{evse} AS placed_evse{suffix}, {at} AS placed_at{suffix}"


def _removal(derived: Derived, fresh: str, among: str) -> str:
    """Return the parts that remove the rows of a scope that are not among the fresh ones. Index: the primary key.

    From when on rows are looked at, and of how many entities, is not known when the statement is planned. So each
    entity's rows are looked up by themselves, and those to remove by their place: a join would read the whole table.
    """
    conditions = [f"known.tenant = :tenant AND known.{derived.entity} = scope.entity_id"]
    if derived.since is not None:
        conditions.append(f"known.{derived.since} >= coalesce(scope.since, '-infinity')")
    conditions += [among] if among else []
    # NOT IN is hashed whatever the planner expects, and keys are never null. NOT EXISTS compares each row with each
    # other one while the tables have no statistics.
    fresh_keys = f"SELECT {_listed(derived.key, 'fresh')} FROM {fresh} AS fresh"  # noqa: S608 - the names are ours
    members = ", ".join(f"'{name}', gone.{name}" for name in derived.key)
    return f"""stale AS MATERIALIZED (
    SELECT known.place
      FROM {{scope}}
     CROSS JOIN LATERAL (
           SELECT known.ctid AS place, {_listed(derived.key, "known")}
             FROM {derived.name} AS known
            WHERE {" AND ".join(conditions)}
           OFFSET 0) AS known
     WHERE ({_listed(derived.key, "known")}) NOT IN ({fresh_keys})
), gone AS (
    DELETE FROM {derived.name} AS known
     WHERE known.tenant = :tenant
       AND known.ctid = ANY(ARRAY(SELECT place FROM stale))
    RETURNING {_listed(derived.key, "known")}, {_returned(derived, "known")}, {_place(derived, "known")}
), noted AS (
    INSERT INTO analytics.removal (tenant, change_number, table_name, key, changed_at)
    SELECT :tenant,
           CAST(:last AS bigint) + row_number() OVER (ORDER BY {_listed(derived.key, "gone")}),
           '{derived.table.name}',
           jsonb_build_object({members}),
           :changed_at
      FROM gone
)"""  # noqa: S608 - the names are ours


def _upsert(derived: Derived, fresh: str, removed: str) -> str:
    """Return the parts that write the fresh rows that differ. Index: the table's primary key."""
    listed = [*derived.key, *derived.columns]
    known, values = (_listed(derived.columns, side) for side in ("known", "fresh"))
    placed_before, placed_now = (_listed(derived.placed, side) for side in ("known", "fresh"))
    is_moved = f"({placed_before}) IS DISTINCT FROM ({placed_now})" if derived.placed else "false"
    assignments = ",\n               ".join(
        f"{name} = excluded.{name}" for name in (*derived.columns, "change_number", "changed_at")
    )
    return f"""changed AS (
    SELECT {_listed(listed, "fresh")},
           {_place(derived, "known", "_before")},
           {_place(derived, "fresh", "_now")},
           {is_moved} AS is_moved,
           row_number() OVER (ORDER BY {_listed(derived.key, "fresh")}) AS ordinal
      FROM {fresh} AS fresh
      LEFT JOIN {derived.name} AS known
             ON known.tenant = :tenant AND {_same_key(derived, "known", "fresh")}
     WHERE known.tenant IS NULL
        OR ({known}) IS DISTINCT FROM ({values})
), written AS (
    INSERT INTO {derived.name} AS known (tenant, {", ".join(listed)}, change_number, changed_at)
    SELECT :tenant, {", ".join(listed)}, CAST(:last AS bigint) + {removed} + ordinal, :changed_at
      FROM changed
     ORDER BY {", ".join(derived.key)}
        ON CONFLICT (tenant, {", ".join(derived.key)}) DO UPDATE SET
               {assignments}
    RETURNING {_returned(derived, "known")}, {_NOWHERE}
)"""  # noqa: S608 - the names are ours


_COUNTED = "changed_entity, changed_since, written, placed_evse, placed_at"

_NOWHERE = "CAST(NULL AS bigint) AS placed_evse, CAST(NULL AS timestamptz) AS placed_at"


def _moved(derived: Derived) -> str:
    """Return the query of where the changed rows belonged and belong, if days take something else from them now."""
    return " UNION ALL ".join(
        f"SELECT {derived.entity}, CAST(NULL AS timestamptz), 0, placed_evse_{side}, placed_at_{side}"  # noqa: S608 - the names are ours
        " FROM changed WHERE is_moved"
        for side in ("before", "now")
    )


def _summed(*sources: str) -> str:
    """Return the query of the entities that changed: how many rows, from when on, and where the rows belong."""
    return f"""
SELECT changed_entity,
       sum(written) AS written,
       nullif(min(changed_since), '-infinity') AS changed_since,
       placed_evse,
       nullif(min(placed_at), '-infinity') AS placed_since,
       nullif(max(placed_at), '-infinity') AS placed_until
  FROM ({" UNION ALL ".join(sources)}) AS counted
 GROUP BY changed_entity, placed_evse
"""  # noqa: S608 - the names are ours


def _counted(part: str) -> str:
    return f"SELECT {_COUNTED} FROM {part}"  # noqa: S608 - the names are ours


@cache
def _removal_of_rows(derived: Derived, among: str) -> str:
    return f"WITH {_removal(derived, _rows(derived), among).format(scope=scope_sql())}\n{_summed(_counted('gone'))}"


@cache
def _upsert_of_rows(derived: Derived) -> str:
    return f"WITH {_upsert(derived, _rows(derived), '0')}\n{_summed(_counted('written'), _moved(derived))}"


@cache
def _write_of_query(derived: Derived, query: str, among: str) -> str:
    """Return the statement that writes what a query returns, in the types of the table's columns."""
    columns = derived.table.columns
    cast = ",\n           ".join(_cast(columns[name]) for name in (*derived.key, *derived.columns))
    return f"""
WITH scope AS MATERIALIZED (
    SELECT entity_id, since FROM {scope_sql()}
), fresh AS MATERIALIZED (
    SELECT {cast}
      FROM ({query}) AS derived
), {_removal(derived, "fresh", among).format(scope="scope")}, {_upsert(derived, "fresh", "(SELECT count(*) FROM gone)")}
{_summed(_counted("gone"), _counted("written"), _moved(derived))}
"""  # noqa: S608 - the names are ours


def _cast(column: Column[Any]) -> str:
    """Return a column of a query in its type; a number that the type cannot hold is null.

    Without it, a number that the column rounds would differ from the stored one each time.
    """
    kind = column.type.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call] # as of SQLAlchemy 2.1
    name, limit = column.name, limit_of(column.type)
    if limit is None:
        return f"CAST(derived.{name} AS {kind}) AS {name}"
    return f"CASE WHEN abs(derived.{name}) < {limit} THEN CAST(derived.{name} AS {kind}) END AS {name}"
