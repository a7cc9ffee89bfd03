"""Delete old rows of small tables, tenant by tenant."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, text


def prune_table(connection: Connection, table: str, condition: str, age: timedelta) -> None:
    """Delete the rows of all tenants for which a condition holds. This reads the whole table.

    Parameters:
        table: the name of a table, as ``schema.table``.
        condition: SQL about the columns of the table, with the parameter ``age``.
        age: the age that makes a row old.
    """
    tenants = connection.execute(
        text(f"SELECT DISTINCT tenant FROM {table} WHERE {condition} ORDER BY tenant"),  # noqa: S608 - ours
        {"age": age},
    )
    statement = text(f"DELETE FROM {table} WHERE tenant = :tenant AND {condition}")  # noqa: S608 - ours
    for tenant in tenants.scalars().all():
        connection.execute(statement, {"tenant": tenant, "age": age})
