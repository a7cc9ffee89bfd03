"""The console for a test: the real app under a real server, on the data of a service."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg
from sqlalchemy import Engine, text

from receiver.console.app import create_console_app
from runtime.settings import Settings
from storage.ids import made_at, uuid7
from storage.inbox.commit import CommitGroup, Entry, commit_groups
from tests.support.analytics import at, derive, session_facts, write
from tests.support.facts import sample
from tests.support.service import Server, all_running, url_of

#: Debian's Chromium.
CHROMIUM = Path("/usr/bin/chromium")

#: The tokens of the users of a test's console, by their role.
TOKENS = {"look": "token-of-one-who-looks", "act": "token-of-one-who-acts"}

#: Their names.
NAMES = {"look": "lola", "act": "arno"}

USERS = "".join(
    f'\n[console.users.{NAMES[role]}]\nrole = "{role}"\ntoken = "{token}"\n' for role, token in TOKENS.items()
)

#: The id of a session that :func:`store_session` stores, for the addresses of pages.
SESSION_ID = 990_001


def store_session(engine: Engine, session_id: int = SESSION_ID, **values: Any) -> None:
    """Store and derive a session of the tenant ``demo`` that has ended; ``values`` are columns."""
    columns: dict[str, Any] = {
        "status": "finished",
        "evse_id": 990_101,
        "charge_point_id": 990_201,
        "started_at": at(0),
        "stopped_at": at(30),
        "energy_wh": Decimal(12_000),
    }
    write(engine, *session_facts(session_id, 30, **columns | values), tenant="demo")
    derive(engine, "demo")


#: The ids of a notification and of a replay that :func:`store_linked` stores, for addresses of their pages.
NOTIFICATION_ID, ACTION_ID = uuid7(), uuid7()


def store_linked(engine: Engine) -> None:
    """Store a notification and a replay of the tenant ``demo`` under the ids above."""
    entry = Entry("demo", json.dumps(sample("BootNotification")).encode(), {"X-Tenant": "1"}, "token", "hex")
    entry.notification_id, entry.received_at = NOTIFICATION_ID, made_at(NOTIFICATION_ID)

    async def commit() -> None:
        async with await psycopg.AsyncConnection.connect(url_of(engine), autocommit=True) as connection:
            await commit_groups(connection, [CommitGroup("demo", [entry])])

    with ThreadPoolExecutor(1) as thread:  # in this one, the driver of a browser may run a loop
        thread.submit(lambda: asyncio.run(commit())).result()
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ingest.operator_action (tenant, action_id, actor, action, details)"
                """ VALUES ('demo', :action_id, 'arno', 'replay', '{"expected": 1}')"""
            ),
            {"action_id": ACTION_ID},
        )


@dataclass(frozen=True, slots=True)
class RunningConsole:
    """A console that runs.

    Attributes:
        url: where it is.
        anybody: a client that is not signed in.
        looker, actor: clients that are signed in with the roles look and act.
        server: its server.
    """

    url: str
    anybody: httpx.Client
    looker: httpx.Client
    actor: httpx.Client
    server: Server


@contextlib.contextmanager
def serving_console(settings: Settings, *, has_users: bool = True) -> Iterator[RunningConsole]:
    """Run the console.

    Parameters:
        settings: of a service, such as ``Service.settings``.
        has_users: add a user of each role to its tenants file.
    """
    if has_users and "[console.users" not in settings.tenants_file.read_text():
        settings.tenants_file.write_text(settings.tenants_file.read_text() + USERS)
    server = Server(create_console_app(settings))
    with contextlib.ExitStack() as stack:
        stack.enter_context(all_running(server))
        anybody, looker, actor = (stack.enter_context(_client(server.url)) for _ in range(3))
        if has_users:
            for client, role in ((looker, "look"), (actor, "act")):
                assert client.post("/sign-in", data={"token": TOKENS[role]}).status_code == 303
        yield RunningConsole(server.url, anybody, looker, actor, server)


def _client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=30, headers={"Sec-Fetch-Site": "same-origin"})
