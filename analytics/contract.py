"""Describe the contract: the tables and views of the schema ``analytics`` with their columns, for the documentation.

``python -m analytics.contract`` writes the page of the documentation again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from analytics.schema import metadata
from analytics.schema.views import VIEWS, View
from storage.schema_names import ANALYTICS

#: Tables of the schema that are no part of the contract: they may change at any time.
INTERNAL = frozenset({"authorization_session", "availability_progress", "dirty", "evse_progress", "finding_due"})


def tables() -> list[Table]:
    """Return the tables of the contract, by name."""
    found = [table for table in metadata.tables.values() if table.schema == ANALYTICS and table.name not in INTERNAL]
    return sorted(found, key=lambda table: table.name)


def describe() -> str:
    """Return the contract as Markdown: a section for each table and view, with its key and its columns."""
    parts = [*map(_described, tables()), *map(_described_view, VIEWS)]
    return "\n".join(line for lines in parts for line in lines)


def _described(table: Table) -> Iterator[str]:
    yield from _heading(table.name, f"{table.comment}.")
    for column in table.columns:
        kind = column.type.compile(dialect=postgresql.dialect()).lower()  # type: ignore[no-untyped-call] # as of SQLAlchemy 2.1
        key = ", key" if column.primary_key else ""
        yield f"| `{column.name}` | {_SHORT.get(kind, kind)}{key} | {column.comment} |"
    yield ""


def _described_view(view: View) -> Iterator[str]:
    yield from _heading(view.name, f"{view.comment}. A view: it has no change numbers.")
    for name, kind, meaning in view.columns:
        yield f"| `{name}` | {_SHORT.get(kind, kind)} | {meaning} |"
    yield ""


def _heading(name: str, comment: str) -> Iterator[str]:
    yield from (f"## `{ANALYTICS}.{name}`", "", comment, "", "| column | type | meaning |", "|---|---|---|")


_SHORT = {"timestamp with time zone": "timestamptz"}


def page() -> str:
    """Return the page of the documentation that describes the contract."""
    names = ", ".join(f"`{name}`" for name in (*(table.name for table in tables()), *(view.name for view in VIEWS)))
    return _PAGE.format(names=names, tables=describe().strip())


_PAGE = """\
# The tables for analysts

Each table and view of the schema `analytics` with its columns, as their comments in the database say. Times are in UTC,
durations are seconds, energy is Wh, and numbers that cannot be are null. [Analytics](../analytics.md) explains them.

{names}.

{tables}
"""

if __name__ == "__main__":
    Path("docs/analytics/tables.md").write_text(page())
