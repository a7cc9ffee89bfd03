"""A tenant with a managed subscription, and a service that monitors it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from starlette.types import Message, Receive, Scope, Send

from ampeco.api.client import Client
from simulator.app import Simulator
from simulator.settings import TenantSettings
from storage.monitoring.subscriptions import locked
from tests.support.service import TOKEN, Service, running, serving
from workers.api.context import Context, create_context
from workers.monitoring.subscription_monitor import SubscriptionMonitor
from workers.monitoring.subscriptions import Result, callback_url, subscribe_and_manage

PUBLIC_URL = "https://receiver.example.com"
URL = callback_url(PUBLIC_URL, "demo")

#: An interval with which every check is due.
AT_ONCE = timedelta(0)


@dataclass
class Api:
    """The simulator's API, with a record of its calls, and answers that can be lost.

    Attributes:
        calls: method and path of each call, in order.
        lose_answers: methods whose next call takes effect, but is answered with 502.
    """

    simulator: Simulator
    calls: list[str] = field(default_factory=list)
    lose_answers: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call of the API."""
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
        """Return the methods of the calls that were not reads, and clear the record."""
        methods = [call.split()[0] for call in self.calls if not call.startswith("GET")]
        self.calls.clear()
        return methods


@dataclass
class Watch:
    """A service and the tenant that it monitors."""

    api: Api
    service: Service
    context: Context
    client: Client

    @property
    def simulator(self) -> Simulator:
        """The simulator of the tenant."""
        return self.api.simulator

    def subscribe(self, *, url: str = URL, replace_existing: bool = False) -> Result:
        """Subscribe, as the command does."""
        tenant = self.service.settings.tenants["demo"]
        with locked(self.service.engine, "demo") as lock:
            assert lock is not None
            return subscribe_and_manage(lock, self.client, tenant, url, replace_existing=replace_existing)

    def monitor(self, public_url: str | None = PUBLIC_URL) -> SubscriptionMonitor:
        """Return a subscription monitor for which every check is due."""
        return SubscriptionMonitor(self.context, public_url=public_url, interval=AT_ONCE)

    def names(self) -> set[str]:
        """Return the notification types that are configured."""
        return set(self.service.settings.tenants["demo"].notifications)

    def row(self) -> dict[str, Any]:
        """Return the row of the managed subscription."""
        (row,) = self.service.query("SELECT * FROM ingest.subscription")
        return row

    def pass_time(self, passed: timedelta, *columns: str) -> None:
        """Move the times in these columns, each ``table.column``, into the past."""
        with self.service.engine.begin() as connection:
            for name in columns:
                table, _, column = name.rpartition(".")
                connection.execute(text(f"UPDATE ingest.{table} SET {column} = {column} - :passed"), {"passed": passed})


@contextlib.contextmanager
def busy_all_day() -> Iterator[None]:
    """Let simulated vehicles arrive at every hour as often as at the busiest one."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("simulator.fleet.vehicles.BUSYNESS", (1.0,) * 24)
        yield


@contextlib.contextmanager
def watching(
    database_url: str, redis_url: str, directory: Path, *, speed: float = 60, settings: dict[str, Any] | None = None
) -> Iterator[Watch]:
    """Run a simulator and a service; the test subscribes by itself.

    The tenant is as busy at night, when a test may run, as in the evening.
    """
    tenant = TenantSettings(start=datetime.now(UTC), charge_points=4, evses=8, locations=2, sessions_a_day=40)
    with (
        busy_all_day(),
        running(
            api := Api(Simulator(tenant, token=TOKEN, speed=speed, max_tries=2, first_retry_seconds=0.05))
        ) as api_url,
        serving(database_url, redis_url, directory, api_url=api_url, **(settings or {})) as service,
        create_context(service.settings, process="tests") as context,
        Client(api_url, SecretStr(TOKEN)) as client,
    ):
        yield Watch(api, service, context, client)
