"""Write down the contract as a database has it: tables and views of the schema ``analytics``, with columns and keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, text

from analytics.contract import INTERNAL
from storage.schema_names import ANALYTICS

GOLDEN = Path(__file__).parents[1] / "golden" / "analytics_contract.txt"

_RELATIONS = text("""
SELECT relation.relname,
       CASE relation.relkind WHEN 'v' THEN 'view' ELSE 'table' END AS kind,
       (SELECT pg_get_constraintdef(oid)
          FROM pg_constraint
         WHERE conrelid = relation.oid
           AND contype = 'p') AS key
  FROM pg_class AS relation
 WHERE relation.relnamespace = CAST(:schema AS regnamespace)
   AND relation.relkind IN ('r', 'p', 'v', 'm')
   AND NOT relation.relispartition
   AND relation.relname <> ALL(:internal)
 ORDER BY CAST(relation.relname AS text) COLLATE "C"
""")

_COLUMNS = text("""
SELECT attribute.attname,
       format_type(attribute.atttypid, attribute.atttypmod) AS type,
       attribute.attnotnull,
       attribute.attgenerated <> '' AS is_computed
  FROM pg_attribute AS attribute
 WHERE attribute.attrelid = CAST(:relation AS regclass)
   AND attribute.attnum > 0
   AND NOT attribute.attisdropped
 ORDER BY CAST(attribute.attname AS text) COLLATE "C"
""")


def contract_of(connection: Connection) -> str:
    """Return the contract as text: a paragraph for each table and view, a line for each column."""
    parameters = {"schema": ANALYTICS, "internal": sorted(INTERNAL)}
    relations = connection.execute(_RELATIONS, parameters).all()
    return "\n".join(line for name, kind, key in relations for line in _described(connection, name, kind, key))


def _described(connection: Connection, name: str, kind: str, key: str | None) -> Iterator[str]:
    yield f"{kind} {name}" if key is None else f"{kind} {name}, {key.lower()}"
    for column, type_, is_required, is_computed in connection.execute(_COLUMNS, {"relation": f"{ANALYTICS}.{name}"}):
        yield f"    {column} {type_}{' not null' * is_required}{' computed' * is_computed}"
    yield ""
