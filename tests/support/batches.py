"""Batches of the inbox: notifications that are committed, and batches that are claimed."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from sqlalchemy import Engine

from storage.database_url import conninfo
from storage.inbox import batches as inbox
from storage.inbox.commit import CommitGroup, Entry, commit_groups

PLENTY = {"max_batches": 100, "max_notifications": 1000, "max_bytes": 10**9}


def commit(url: str, *groups: CommitGroup) -> None:
    """Commit groups as the receiver does."""

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(conninfo(url), autocommit=True) as connection:
            await commit_groups(connection, groups)

    asyncio.run(run())


def group(tenant: str, *bodies: bytes) -> CommitGroup:
    """Return a group of notifications of one tenant."""
    return CommitGroup(tenant, [Entry(tenant, body, {"X-Tenant": "1"}, "token", "hex") for body in bodies])


def claim(engine: Engine, **limits: Any) -> list[inbox.Batch]:
    """Claim the open batches that the limits allow."""
    with engine.begin() as connection:
        return inbox.claim(connection, **{**PLENTY, **limits})
