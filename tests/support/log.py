"""Commit notifications to the log like the receiver, and query the tables."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
from sqlalchemy import Engine, text

from storage.inbox.commit import CommitGroup, Entry, commit_groups
from storage.schema.tables import metadata
from tests.support.facts import OWN_TIMES
from tests.support.service import url_of


def accept(engine: Engine, *bodies: dict[str, Any] | bytes, tenant: str = "t") -> list[Entry]:
    """Commit notifications to the log, in one batch."""
    raw = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
    entries = [Entry(tenant, body, {"X-Tenant": "1"}, "token", "hex") for body in raw]

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(url_of(engine), autocommit=True) as connection:
            await commit_groups(connection, [CommitGroup(tenant, entries)])

    asyncio.run(run())
    return entries


def query(engine: Engine, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    with engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(text(statement), parameters)]


def execute(engine: Engine, statement: str, **parameters: Any) -> None:
    """Execute a statement in a transaction of its own."""
    with engine.begin() as connection:
        connection.execute(text(statement), parameters)


def everything(engine: Engine, *, own_times: bool = True) -> dict[str, list[str]]:
    """Return every row of every table as text, with or without our own times."""
    by_table = {}
    for table in metadata.tables:
        rows = query(engine, f"SELECT * FROM {table}")
        shown = [{name: value for name, value in row.items() if own_times or name not in OWN_TIMES} for row in rows]
        by_table[table] = sorted(map(str, shown))
    return by_table
