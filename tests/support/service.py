"""The service for a test: the real apps under a real server, and the applying of a worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx
import uvicorn
from sqlalchemy import Engine, text
from starlette.types import ASGIApp

from ampeco.api.transport import tls_context
from ampeco.signature import sign
from receiver.accept.app import create_app
from receiver.accept.protocol import GuardedProtocol
from receiver.admin.app import create_admin_app
from runtime.settings import Settings
from storage.database import create_database_engine
from workers.apply.apply import apply_open_batches

TOKEN = "tenant-token-1f0c"
OTHER_TOKEN = "older-token-77aa"


def eventually(condition: Callable[[], Any], *, seconds: float = 30) -> Any:
    """Wait until a condition is true, and return its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"the condition was not true within {seconds:g} s"
        time.sleep(0.02)


#: Below the ports that outgoing connections get, of which one may take a port before its server has started. Redis in
#: a cluster listens also 10,000 above, which is to be a port too.
_FREE_PORTS = range(10_000, 22_000)

_given_ports: set[int] = set()


def free_port() -> int:
    """Return a port of the loopback interface on which no process listens, and which no test of this process got."""
    while True:
        port = secrets.choice(_FREE_PORTS)  # hypothesis sets the seed of ``random``, the same in each process
        if port in _given_ports:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given_ports.add(port)
            return port


def url_of(engine: Engine) -> str:
    """Return the URL of the database to which an engine is connected."""
    with engine.connect() as connection:
        opened = connection.connection.driver_connection
        assert opened is not None
        info = opened.info
        user = ":".join(quote(part, safe="") for part in (info.user, info.password) if part)
        return f"postgresql://{user}@/{quote(info.dbname)}?host={quote(info.host, safe='')}&port={info.port}"


class Server(uvicorn.Server):
    """An app's server in a thread of its own. It adds no ``Date``, because the simulator sets its own."""

    def __init__(
        self, app: ASGIApp, port: int | None = None, http: type[asyncio.Protocol] | Literal["auto"] = "auto"
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=http,
                log_config=None,
                access_log=False,
                date_header=False,
            )
        )
        # Bound from here on, so that no other test gets the port
        self._socket = socket.socket()
        if port is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port or 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self.run, args=([self._socket],), daemon=True)
        self._stop = asyncio.Event()
        self._was_tried = threading.Event()
        self._is_serving = False

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until the end is requested."""
        try:
            super().run(sockets)
        finally:
            self._was_tried.set()

    async def main_loop(self) -> None:
        """Serve until the end is requested, and notice it at once; uvicorn looks every tenth of a second."""
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)
        self._is_serving = True
        self._was_tried.set()
        await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End as uvicorn does, but without its tenth of a second before it looks whether every connection is closed."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - uvicorn says of neither when it ends
            await asyncio.sleep(0.001)
        await self.lifespan.shutdown()

    def start(self) -> None:
        """Start, and wait until the server accepts connections."""
        self._thread.start()
        assert self._was_tried.wait(30)
        assert self._is_serving, "the server did not start"

    def request_stop(self) -> None:
        """Request the end."""
        if self._is_serving:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                self._loop.call_soon_threadsafe(self._stop.set)

    def join(self) -> None:
        """Wait until the server has ended."""
        self._thread.join(30)
        self._socket.close()


@contextlib.contextmanager
def all_running(*servers: Server) -> Iterator[None]:
    """Run servers, which stop side by side, because each waits for its connections."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.request_stop()
        for server in servers:
            server.join()


@contextlib.contextmanager
def running(
    app: ASGIApp, port: int | None = None, http: type[asyncio.Protocol] | Literal["auto"] = "auto"
) -> Iterator[str]:
    """Serve an app; yield its URL."""
    server = Server(app, port, http)
    with all_running(server):
        yield server.url


def write_tenants(directory: Path, *, api_url: str = "http://127.0.0.1:1", **extra: Any) -> Path:
    """Write a tenants file with the tenants ``demo`` and ``other``."""
    lines = []
    for name, token in (("demo", TOKEN), ("other", "another-tenants-token")):
        lines += [f"[tenants.{name}]", f'base_url = "{api_url}"', f'token = "{token}"']
        extra = {
            "calls_per_minute": 6_000,
            "calls_per_day": 10_000_000,
        } | extra  # otherwise the rate limit would delay the tests
        lines += [f"{key} = {json.dumps(value)}" for key, value in extra.items()]
    path = directory / "tenants.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass
class Service:
    """A running receiver with its admin endpoints and its database."""

    url: str
    settings: Settings
    engine: Engine
    client: httpx.Client
    admin: httpx.Client

    def post(
        self, body: bytes | dict[str, Any], *, tenant: str = "demo", token: str = TOKEN, **headers: str
    ) -> httpx.Response:
        """Send a signed notification."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        own = {"X-Signature": sign(raw, token), "X-Timestamp": "2026-03-04T07:04:01.215334Z", "X-Tenant": "42"}
        return self.client.post(f"/notifications/{tenant}", content=raw, headers=own | headers)

    def apply(self) -> int:
        """Apply the open batches, as a worker does."""
        return apply_open_batches(self.engine)

    def query(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        with self.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(text(statement), parameters)]

    def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        (row,) = self.query(f"SELECT count(*) AS n FROM {table}")
        return int(row["n"])

    def states(self) -> dict[str, tuple[str, str | None]]:
        """Return each notification's state and reason, by id."""
        rows = self.query("SELECT notification_id, state, reason FROM ingest.notification_state")
        return {str(row["notification_id"]): (row["state"], row["reason"]) for row in rows}


@contextlib.contextmanager
def serving(database_url: str, redis_url: str, directory: Path, **changes: Any) -> Iterator[Service]:
    """Run the receiver on real servers; ``changes`` are settings."""
    tenants = {key: changes.pop(key) for key in ("api_url", "signing_tokens", "signature_encoding") if key in changes}
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        tenants_file=write_tenants(directory, **tenants),
        **changes,
    )
    engine = create_database_engine(database_url, application_name="tests", pool_size=5)
    receiver = Server(create_app(settings), http=GuardedProtocol)
    pages = Server(create_admin_app(settings))
    try:
        with (
            all_running(receiver, pages),
            httpx.Client(base_url=receiver.url, timeout=30, verify=tls_context()) as client,
            httpx.Client(base_url=pages.url, timeout=30, verify=tls_context()) as admin,
        ):
            yield Service(receiver.url, settings, engine, client, admin)
    finally:
        engine.dispose()
