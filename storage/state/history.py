"""Write the history: observations of statuses and samples, which are only ever added."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, text

from storage.documents import to_json
from storage.schema.tables import metadata
from storage.schema_names import CHARGING


def observe(
    connection: Connection, tenant: str, observations: dict[str, list[dict[str, Any]]], *, schema: str = CHARGING
) -> None:
    """Add observations to the history; one that is already stored adds nothing.

    Tables are written in the order of their names, so that concurrent writers never
    wait for each other in a circle.

    Parameters:
        observations: rows by the name of their history table.
        schema: the schema of the tables; a rebuild has its own.
    """
    for table, rows in sorted(observations.items()):
        connection.execute(text(_insert(table, schema)), {"tenant": tenant, "rows": to_json(rows)})


@cache
def observation_columns(table: str) -> tuple[str, ...]:
    """Return the columns of a history table, except the tenant and the time at which we recorded the row."""
    columns = metadata.tables[f"{CHARGING}.{table}"].columns
    return tuple(column.name for column in columns if column.name not in ("tenant", "recorded_at"))


@cache
def _insert(table: str, schema: str) -> str:
    """Return the statement that adds observations.

    Index: the table's unique constraint; its columns come first in the table, and so in the order of writing.
    """
    listed = ", ".join(observation_columns(table))
    return f"""
INSERT INTO {schema}.{table} (tenant, {listed})
SELECT :tenant, {listed}
  FROM json_populate_recordset(NULL::charging.{table}, CAST(:rows AS json))
 ORDER BY {listed}
    ON CONFLICT DO NOTHING
"""  # noqa: S608 - the names are ours
