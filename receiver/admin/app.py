"""The admin endpoints of ``serve``: readiness with details, and the metrics for Prometheus.

They have an address and port of their own, so that the public port offers nothing but notifications and a plain yes or
no. One thread of ``serve`` answers them, however many processes accept.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.accept.paths import ignore_trailing_slash
from receiver.admin.health import Health
from receiver.admin.metrics_page import MetricsPage, counters
from receiver.admin.readiness import admin_readiness
from runtime.admin_port import Guard, open_admin_listener
from runtime.background import supervised_thread
from runtime.checks import create_check_engine
from runtime.logging import get_logger
from runtime.settings import Settings
from runtime.sockets import address_of
from storage.database import create_database_engine
from workers.broker import create_redis

logger = get_logger(__name__)


def create_admin_app(settings: Settings) -> ASGIApp:
    """Create the app of the admin endpoints, which requires the admin token if one is configured."""
    database_url = settings.required_database_url()
    engine = create_database_engine(database_url, application_name="ampeco-receiver admin", pool_size=1)
    check_engine = create_check_engine(database_url, process="admin readiness")
    redis_client = create_redis(settings.required_redis_url())
    readiness = admin_readiness(check_engine, redis_client, counters, settings.waiting_room)
    health = Health(readiness)
    metrics = MetricsPage(engine, settings.tenants)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(readiness.stop)
        redis_client.close()
        check_engine.dispose()
        engine.dispose()

    pages = Starlette(
        routes=[
            Route("/healthz", health.alive),
            Route("/readyz", health.ready_in_detail),
            Route("/metrics", metrics.show),
        ],
        lifespan=lifespan,
    )
    return AdminOnly(ignore_trailing_slash(pages), Guard(settings.admin_secret()))


class AdminOnly:
    """An app that answers 401 to every request without the admin token."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "http":
            authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
            if not self._guard.admits(authorization):
                body = {"error": "unauthorized", "message": "The admin token is required."}
                await JSONResponse(body, 401, headers={"WWW-Authenticate": "Bearer"})(scope, receive, send)
                return
        await self._app(scope, receive, send)


@contextlib.contextmanager
def admin_listening(settings: Settings) -> Iterator[str]:
    """Serve the admin endpoints from a thread during the block; yield their URL.

    Raises:
        SettingsError: the address or the port is not available.
    """
    listeners = open_admin_listener(settings, settings.admin_port, setting="RECEIVER_ADMIN_PORT")
    url = f"http://{address_of(settings.admin_host, listeners[0].getsockname()[1])}"
    pages = AdminServer(settings, listeners)
    thread = supervised_thread("admin endpoints", pages.run)
    thread.start()
    logger.info("serving admin endpoints", url=url, token_required=settings.admin_secret() is not None)
    try:
        yield url
    finally:
        pages.stop()
        thread.join()
        for listener in listeners:
            listener.close()


class AdminServer:
    """A server of the admin endpoints."""

    def __init__(self, settings: Settings, listeners: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._listeners = listeners
        self._server: uvicorn.Server | None = None
        self._stopping = False

    def run(self) -> None:
        """Serve until :meth:`stop` is called."""
        if self._stopping:
            return
        app = create_admin_app(self._settings)
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, server_header=False))
        self._server.should_exit = self._stopping
        self._server.run([listener.dup() for listener in self._listeners])  # duplicates, because it closes them
        if not self._stopping:
            raise RuntimeError("the server of the admin endpoints ended unexpectedly")

    def stop(self) -> None:
        """Stop serving."""
        self._stopping = True
        if self._server is not None:
            self._server.should_exit = True
