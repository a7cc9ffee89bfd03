"""A tenant that is subscribed to and watched, as far as a test says that it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import text
from starlette.types import Message, Receive, Scope, Send

from ampeco.client import Client
from receiver.subscribing import subscribe_and_manage
from simulator.app import Simulator
from simulator.settings import TenantSettings
from storage.subscriptions import locked
from tests.support.service import TOKEN, Service, running, serving
from workers.context import Context, create_context
from workers.subscription_monitor import SubscriptionMonitor
from workers.subscriptions import Result, callback_url

PUBLIC_URL = "https://receiver.example.com"
URL = callback_url(PUBLIC_URL, "demo")

#: Whatever was looked at before now is due.
AT_ONCE = timedelta(0)


@dataclass
class Api:
    """The simulator's API, which a test can listen to and disturb.

    Attributes:
        calls: method and path of each call, in order.
        lose_answers: methods whose next call is carried out, and answered with 502.
    """

    simulator: Simulator
    calls: list[str] = field(default_factory=list)
    lose_answers: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.simulator.guard(scope, receive, send)
            return
        self.calls.append(f"{scope['method']} {scope['path']}")
        lost = scope["method"] in self.lose_answers
        if lost:
            self.lose_answers.remove(scope["method"])

        async def disturbed(message: Message) -> None:
            if lost and message["type"] == "http.response.start":
                message = {**message, "status": 502}
            await send(message)

        await self.simulator.guard(scope, receive, disturbed)

    def writes(self) -> list[str]:
        """The calls that were no reads, since the last time."""
        found = [call.split()[0] for call in self.calls if not call.startswith("GET")]
        self.calls.clear()
        return found


@dataclass
class Watch:
    """A service and the tenant that it watches."""

    api: Api
    service: Service
    context: Context
    client: Client

    @property
    def simulator(self) -> Simulator:
        return self.api.simulator

    def subscribe(self, *, url: str = URL, replace_existing: bool = False) -> Result:
        tenant = self.service.settings.tenants["demo"]
        with locked(self.service.engine, "demo") as lock:
            assert lock is not None
            return subscribe_and_manage(lock, self.client, tenant, url, replace_existing=replace_existing)

    def monitor(self, public_url: str | None = PUBLIC_URL) -> SubscriptionMonitor:
        return SubscriptionMonitor(self.context, public_url=public_url, interval=AT_ONCE)

    def names(self) -> set[str]:
        return set(self.service.settings.tenants["demo"].notifications)

    def row(self) -> dict[str, Any]:
        """The claim, as it stands."""
        (row,) = self.service.query("SELECT * FROM ingest.subscription")
        return row

    def pass_time(self, passed: timedelta, *columns: str) -> None:
        """Let time pass for what is noted in these columns, each ``table.column``."""
        with self.service.engine.begin() as connection:
            for name in columns:
                table, _, column = name.rpartition(".")
                connection.execute(text(f"UPDATE ingest.{table} SET {column} = {column} - :passed"), {"passed": passed})


@contextlib.contextmanager
def watching(
    database_url: str, redis_url: str, directory: Path, *, speed: float = 60, settings: dict[str, Any] | None = None
) -> Iterator[Watch]:
    tenant = TenantSettings(start=datetime.now(UTC), charge_points=4, evses=8, locations=2, sessions_a_day=40)
    api = Api(Simulator(tenant, token=TOKEN, speed=speed, max_tries=2, first_retry_seconds=0.05))
    with (
        running(api) as api_url,
        serving(database_url, redis_url, directory, api_url=api_url, **(settings or {})) as service,
        create_context(service.settings, process="tests") as context,
        Client(api_url, SecretStr(TOKEN)) as client,
    ):
        yield Watch(api, service, context, client)
