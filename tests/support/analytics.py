"""Shortcuts for facts of single column groups, and for the derived rows that they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from analytics.derive import derive_round
from storage.schema.entities import MIRRORS
from storage.schema.tables import metadata
from storage.schema_names import ANALYTICS
from storage.state.changes import ChangeSet
from storage.state.facts import presence
from storage.state.fold import Fact, fact_from_read
from storage.state.marks import mark_all
from storage.write import write_changes

START = datetime(2026, 3, 4, 7, tzinfo=UTC)

#: What does not follow from the facts alone: the feed and what it notes, and what waits.
_NOT_DERIVED = {"contract", "feed", "removal", "dirty", "finding_due"}
#: The names of the tables that are derived from facts.
DERIVED = sorted(
    table.name for table in metadata.tables.values() if table.schema == ANALYTICS and table.name not in _NOT_DERIVED
)


def at(minutes: float) -> datetime:
    """Return the time that is some minutes after ``START``."""
    return START + timedelta(minutes=minutes)


def fact(kind: str, entity_id: int, minutes: float, group: str = "master", **values: Any) -> Fact:
    """Return the fact of a read about one column group; columns that are not given are null."""
    columns = dict.fromkeys(MIRRORS[kind].group(group).columns) | values
    if "raw" in columns and columns["raw"] is None:
        columns["raw"] = {}
    return fact_from_read(kind, entity_id, group, at(minutes), columns, began_at=at(minutes))


def gone(kind: str, entity_id: int, minutes: float, parent_id: int | None = None) -> Fact:
    """Return the tombstone of an entity."""
    return presence(kind, entity_id, began_at=at(minutes), gone=True, parent_id=parent_id)


def belongs(kind: str, entity_id: int, parent_id: int, minutes: float = 0) -> Fact:
    """Return the fact that a read showed a child with its parent."""
    return presence(kind, entity_id, began_at=at(minutes), gone=False, parent_id=parent_id)


def session_facts(session_id: int, minutes: float = 0, **values: Any) -> list[Fact]:
    """Return the facts of a session: its state and its detail, and its meter if a column of it is given."""
    facts = []
    for group in ("state", "detail", "meter"):
        columns = {name: values.pop(name) for name in MIRRORS["session"].group(group).columns if name in values}
        if columns or group != "meter":
            facts.append(fact("session", session_id, minutes, group, **columns))
    assert not values, f"unknown columns: {values}"
    return facts


def write(
    engine: Engine,
    *facts: Fact,
    observations: dict[str, list[dict[str, Any]]] | None = None,
    tenant: str = "t",
) -> None:
    """Write facts and observations in one transaction."""
    with engine.begin() as connection:
        write_changes(connection, tenant, ChangeSet(facts=list(facts), observations=observations or {}))


def derive(engine: Engine, tenant: str = "t") -> None:
    """Derive until no mark is left."""
    while (done := derive_round(engine, tenant)) is None or not done.is_done:
        pass


def derived(engine: Engine, table: str, *columns: str) -> list[dict[str, Any]]:
    """Return columns of the rows of a derived table in the order of its key; without columns, all of them."""
    order = ", ".join(map(str, range(1, min(len(columns) or 3, 3) + 1)))
    statement = f"SELECT {', '.join(columns) or '*'} FROM analytics.{table} WHERE tenant = 't' ORDER BY {order}"
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(statement)).mappings()]


def content(engine: Engine, *tables: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of derived tables without their numbers: what must not depend on the order of arrival."""
    statement = "SELECT to_jsonb(known) - 'change_number' - 'changed_at' FROM analytics.{} AS known WHERE tenant = 't'"
    with engine.connect() as connection:
        return {table: sorted(connection.execute(text(statement.format(table))).scalars(), key=str) for table in tables}


def changes_of_deriving_everything(engine: Engine) -> int:
    """Derive everything again, and return how many rows changed."""
    numbers = text("SELECT last_change_number FROM analytics.feed WHERE tenant = 't'")
    with engine.begin() as connection:
        before = connection.execute(numbers).scalar_one()
        mark_all(connection, "t")
    derive(engine)
    with engine.begin() as connection:
        return int(connection.execute(numbers).scalar_one() - before)


def empty(engine: Engine, tables: Sequence[str]) -> None:
    """Remove all rows of tables, so that facts can be written in another order."""
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(tables)}"))
