"""What becomes of every kind of notification on the way into a database, and what its connections are set to."""

from __future__ import annotations

import asyncio
import itertools
import json
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, text

from receiver.committer import GroupCommitter
from storage.database import create_database_engine
from storage.inbox import Entry
from storage.overview import overview
from storage.session import one_transaction
from storage.tables import CHARGING, metadata
from tests.support.facts import OWN_TIMES, SAMPLES, sample
from workers.apply import apply_open_batches

_numbers = itertools.count()


def bodies() -> list[dict[str, Any]]:
    """Every sample, with a name that LATIN1 cannot hold and an odd amount."""
    found = [json.loads(path.read_text()) for path in sorted(SAMPLES.glob("*.json")) if path.name != "_headers.json"]
    update = sample("SessionUpdateNotification.finished")
    update["session"] |= {"id": "77", "lastUpdatedAt": "2026-03-04T23:30:00Z", "energy": 12345.678}
    return [*found, update, {"notification": "Żółw.changed", "x": 1}]


def accept_and_apply(url: str) -> dict[str, list[str]]:
    """Take a tenant's notifications in as the receiver and a worker do; returns what is stored of it."""
    tenant = f"t{next(_numbers)}"
    engine = create_database_engine(url, application_name="tests", pool_size=2)
    entries = [Entry(tenant, json.dumps(body).encode(), {"X-Tenant": "1"}, "token", "hex") for body in bodies()]
    asyncio.run(commit(url, entries))
    while apply_open_batches(engine):
        pass
    found = stored(engine, tenant)
    engine.dispose()
    return found


async def commit(url: str, entries: list[Entry]) -> None:
    committer = committer_of(url)
    committer.start()
    await asyncio.gather(*(committer.commit(entry) for entry in entries))
    await committer.stop()


def committer_of(url: str) -> GroupCommitter:
    return GroupCommitter(
        url, lambda _groups: None, commit_timeout=timedelta(seconds=20), waiting_room=1_000, waiting_bytes=10**7
    )


#: What differs from run to run.
OWN = {*OWN_TIMES, "tenant", "fact_version", "notified_at"}


def stored(engine: Engine, tenant: str) -> dict[str, list[str]]:
    """Every row of the state and its history, what was logged, and what `status` says of it."""
    found = {}
    with engine.connect() as connection:
        for table in metadata.tables.values():
            if table.schema == CHARGING:
                statement = text(f"SELECT * FROM {table} WHERE tenant = :tenant")
                rows = connection.execute(statement, {"tenant": tenant}).mappings()
                found[table.name] = sorted(str({name: row[name] for name in row if name not in OWN}) for row in rows)
        statement = text("SELECT notification_type, headers FROM ingest.notification WHERE tenant = :tenant")
        found["log"] = sorted(map(str, connection.execute(statement, {"tenant": tenant})))
        (counts,) = (one for one in overview(connection, [tenant]) if one.tenant == tenant)
        found["status"] = [str((counts.applied, counts.ignored, counts.failed, counts.pending))]
    return found


def shown(url: str, asked: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What a connection of an engine says, and the committer's, where commits are made."""
    engine = create_database_engine(url, application_name="tests", pool_size=1)
    with engine.connect() as connection:
        by_engine = tuple(connection.execute(text(asked)).one())
    engine.dispose()

    async def ask() -> tuple[Any, ...]:
        committer = committer_of(url)
        async with await committer._connected() as connection:
            async with one_transaction(connection, committer._settings):
                cursor = await connection.execute(asked.encode())
            return await cursor.fetchone() or ()

    return by_engine, asyncio.run(ask())
