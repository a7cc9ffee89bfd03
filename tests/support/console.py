"""The console for a test: the real app under a real server, on the data of a service."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from receiver.console.app import create_console_app
from runtime.settings import Settings
from tests.support.service import Server, all_running

#: The tokens of the users of a test's console, by their role.
TOKENS = {"look": "token-of-one-who-looks", "act": "token-of-one-who-acts"}

#: Their names.
NAMES = {"look": "lola", "act": "arno"}

USERS = "".join(
    f'\n[console.users.{NAMES[role]}]\nrole = "{role}"\ntoken = "{token}"\n' for role, token in TOKENS.items()
)


@dataclass(frozen=True, slots=True)
class RunningConsole:
    """A console that runs.

    Attributes:
        url: where it is.
        anybody: a client that is not signed in.
        looker, actor: clients that are signed in with the roles look and act.
    """

    url: str
    anybody: httpx.Client
    looker: httpx.Client
    actor: httpx.Client


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
        yield RunningConsole(server.url, anybody, looker, actor)


def _client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=30, headers={"Sec-Fetch-Site": "same-origin"})
