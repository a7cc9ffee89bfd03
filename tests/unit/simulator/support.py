"""A tenant to ask, and a receiver to send to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from simulator.app import Simulator
from simulator.fleet.fleet import Fleet, Notification
from simulator.settings import TenantSettings

START = datetime(2026, 3, 4, tzinfo=UTC)
TOKEN = "the-token"
SUBSCRIPTIONS = "/public-api/notifications/v2.0"
RESOURCES = "/public-api/resources"


def small(**changes: Any) -> TenantSettings:
    """A tenant that is quick to make."""
    return TenantSettings.model_validate(
        {"start": START, "charge_points": 4, "evses": 8, "locations": 2, "sessions_a_day": 20} | changes
    )


def call(simulator: Simulator, method: str, path: str, *, token: str | None = TOKEN, **request: Any) -> httpx.Response:
    """Ask a tenant without a server; its clock stands still."""

    async def ask() -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        transport = httpx.ASGITransport(simulator.guard)
        async with httpx.AsyncClient(transport=transport, base_url="http://tenant.test", headers=headers) as client:
            return await client.request(method, path, **request)

    return asyncio.run(ask())


def subscription(url: str, *names: str) -> dict[str, Any]:
    """The body of a subscribe call."""
    return {"via": "webhook", "notifications": list(names), "webhook": {"callbackUrl": url}}


@dataclass
class Received:
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers POSTs on a real port; ``statuses`` are used up first, then 202."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(_header(line) for line in head[1:] if line)
                body = await reader.readexactly(int(headers["content-length"]))
                self.received.append(Received(headers, body))
                status = self.statuses.pop(0) if self.statuses else 202
                answer = b'{"id":"%d"}' % len(self.received)
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(answer), answer))
                await writer.drain()


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name.lower(), value


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver, for as long as the block runs."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/notifications/demo?secret=a%20b"
    try:
        yield receiver
    finally:
        server.close()
        for task in receiver.serving:
            task.cancel()
        await asyncio.gather(*receiver.serving, return_exceptions=True)
        await asyncio.sleep(0)  # in which the transports close


@contextlib.asynccontextmanager
async def delivering(simulator: Simulator) -> AsyncIterator[None]:
    """Let a tenant deliver while its clock is driven by hand."""
    task = asyncio.create_task(simulator.delivery.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], *, seconds: float = 5) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is of any kind
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Day:
    """A day of a tenant: its fleet, and the notifications that it sent."""

    fleet: Fleet
    notifications: list[Notification]
