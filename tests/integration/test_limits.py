"""Every kind of connection to Postgres has its limits, so that nothing waits for ever."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from alembic import command
from sqlalchemy import Connection, text

import migrations
from receiver.accept.committer import GroupCommitter
from receiver.environment import database
from storage.connection import LOCK_TIMEOUT, STATEMENT_TIMEOUT
from storage.database import CONNECT_TIMEOUT
from tests.support.service import Service
from workers.api.context import create_context

LIMITS = """
SELECT name, setting::integer
  FROM pg_settings
 WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout')
"""

OURS = {
    "statement_timeout": STATEMENT_TIMEOUT // timedelta(milliseconds=1),
    "lock_timeout": LOCK_TIMEOUT // timedelta(milliseconds=1),
    "idle_in_transaction_session_timeout": 60_000,
}


def limits(connection: Connection) -> dict[str, int]:
    return {row.name: row.setting for row in connection.execute(text(LIMITS))}


def test_the_connections_of_commands_and_of_workers_have_limits(service: Service) -> None:
    with database(service.settings) as engine, engine.connect() as connection:
        assert limits(connection) == OURS
    with create_context(service.settings, process="tests") as context, context.engine.connect() as connection:
        assert limits(connection) == OURS


def test_the_connection_that_accepts_gives_up_with_its_senders(service: Service) -> None:
    async def ask() -> tuple[dict[str, int], str]:
        committer = GroupCommitter(
            service.settings.required_database_url(),
            lambda _groups: None,
            commit_timeout=timedelta(seconds=3),
            waiting_room=1,
            waiting_bytes=1,
        )
        async with await committer._connected() as connection:
            found = await (await connection.execute(LIMITS)).fetchall()
            return dict(found), connection.info.get_parameters()["connect_timeout"]

    found, connect_timeout = asyncio.run(ask())
    assert found == OURS | {"statement_timeout": 3000}
    assert int(connect_timeout) == CONNECT_TIMEOUT.total_seconds()


def test_a_migration_may_take_its_time_and_a_vanished_one_ends(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, int]] = []
    monkeypatch.setattr(
        command, "upgrade", lambda config, _revision: seen.append(limits(config.attributes["connection"]))
    )
    migrations.upgrade(service.engine)
    assert seen == [OURS | {"statement_timeout": 0, "lock_timeout": 0}]


def test_what_going_back_would_drop_may_take_as_long_as_going_back(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, int]] = []
    monkeypatch.setattr(
        command, "downgrade", lambda config, _revision: seen.append(limits(config.attributes["connection"]))
    )
    migrations.losses(service.engine, "0030")
    assert seen == [OURS | {"statement_timeout": 0, "lock_timeout": 0}]
