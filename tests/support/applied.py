"""Accept and apply every notification type in a database, and read the settings of its connections."""

from __future__ import annotations

import asyncio
import itertools
import json
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, text

from receiver.accept.committer import GroupCommitter
from storage.connection import one_transaction
from storage.database import create_database_engine
from storage.inbox.commit import Entry
from storage.reports.overview import overview
from storage.schema.tables import metadata
from storage.schema_names import CHARGING
from tests.support.facts import OWN_TIMES, SAMPLES, sample
from workers.apply.apply import apply_open_batches

_numbers = itertools.count()


def bodies() -> list[dict[str, Any]]:
    """Return every sample, a type with a name that LATIN1 cannot encode, and a session with fractions of a Wh."""
    samples = [json.loads(path.read_text()) for path in sorted(SAMPLES.glob("*.json")) if path.name != "_headers.json"]
    update = sample("SessionUpdateNotification.finished")
    update["session"] |= {"id": "77", "lastUpdatedAt": "2026-03-04T23:30:00Z", "energy": 12345.678}
    return [*samples, update, {"notification": "Żółw.changed", "x": 1}]


def accept_and_apply(url: str, tenant: str | None = None) -> dict[str, list[str]]:
    """Accept and apply the notifications of a tenant, as the receiver and a worker do; return what is stored.

    Parameters:
        tenant: None for a new one.
    """
    tenant = tenant or f"t{next(_numbers)}"
    engine = create_database_engine(url, application_name="tests", pool_size=2)
    entries = [Entry(tenant, json.dumps(body).encode(), {"X-Tenant": "1"}, "token", "hex") for body in bodies()]
    asyncio.run(commit(url, entries))
    while apply_open_batches(engine):
        pass
    by_table = stored(engine, tenant)
    engine.dispose()
    return by_table


async def commit(url: str, entries: list[Entry]) -> None:
    """Commit notifications with the receiver's committer."""
    committer = committer_of(url)
    committer.start()
    await asyncio.gather(*(committer.commit(entry) for entry in entries))
    await committer.stop()


def committer_of(url: str) -> GroupCommitter:
    """Return a committer for a database."""
    return GroupCommitter(
        url, lambda _groups: None, commit_timeout=timedelta(seconds=20), waiting_room=1_000, waiting_bytes=10**7
    )


#: The columns that differ from run to run.
OWN = {*OWN_TIMES, "tenant", "fact_version", "notified_at"}


def stored(engine: Engine, tenant: str) -> dict[str, list[str]]:
    """Return every row of the state and its history, the log, and the counts of `status`."""
    by_table = {}
    with engine.connect() as connection:
        for table in metadata.tables.values():
            if table.schema == CHARGING:
                statement = text(f"SELECT * FROM {table} WHERE tenant = :tenant")
                rows = connection.execute(statement, {"tenant": tenant}).mappings()
                kept = [{column: row[column] for column in row if column not in OWN} for row in rows]
                by_table[table.name] = sorted(map(str, kept))
        statement = text("SELECT notification_type, headers FROM ingest.notification WHERE tenant = :tenant")
        by_table["log"] = sorted(map(str, connection.execute(statement, {"tenant": tenant})))
        (counts,) = (counts for counts in overview(connection, [tenant]) if counts.tenant == tenant)
        by_table["status"] = [str((counts.applied, counts.ignored, counts.failed, counts.pending))]
    return by_table


def shown(url: str, query: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the row of a query on a connection of an engine, and on the one on which the committer commits."""
    engine = create_database_engine(url, application_name="tests", pool_size=1)
    with engine.connect() as connection:
        by_engine = tuple(connection.execute(text(query)).one())
    engine.dispose()

    async def by_committer() -> tuple[Any, ...]:
        committer = committer_of(url)
        async with await committer._connected() as connection:
            async with one_transaction(connection, committer._settings):
                cursor = await connection.execute(query.encode())
            return await cursor.fetchone() or ()

    return by_engine, asyncio.run(by_committer())
