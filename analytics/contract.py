"""Describe the contract: the tables of the schema ``analytics`` with their columns, for the documentation."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from analytics.schema import metadata
from storage.schema_names import ANALYTICS

#: Tables of the schema that are no part of the contract: they may change at any time.
INTERNAL = frozenset({"authorization_session", "availability_progress", "dirty", "evse_progress"})


def tables() -> list[Table]:
    """Return the tables of the contract, by name."""
    found = [table for table in metadata.tables.values() if table.schema == ANALYTICS and table.name not in INTERNAL]
    return sorted(found, key=lambda table: table.name)


def describe() -> str:
    """Return the contract as Markdown: a section for each table, with its key and its columns."""
    return "\n".join(line for table in tables() for line in _described(table))


def _described(table: Table) -> Iterator[str]:
    yield f"### `{ANALYTICS}.{table.name}`"
    yield ""
    yield f"{table.comment}."
    yield ""
    yield "| column | type | meaning |"
    yield "|---|---|---|"
    for column in table.columns:
        kind = column.type.compile(dialect=postgresql.dialect()).lower()  # type: ignore[no-untyped-call] # as of SQLAlchemy 2.1
        shown = {"timestamp with time zone": "timestamptz"}.get(kind, kind)
        key = ", key" if column.primary_key else ""
        yield f"| `{column.name}` | {shown}{key} | {column.comment} |"
    yield ""
