"""The ASGI app of the receiver: its routes, and its start and stop."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.accept.acceptor import Acceptor
from receiver.accept.bodies import Bodies
from receiver.accept.endpoint import Notifications
from receiver.accept.metrics import create_series
from receiver.accept.paths import ignore_trailing_slash
from receiver.accept.process import AcceptingProcess
from receiver.admin.health import Health
from receiver.admin.readiness import Draining
from runtime.logging import get_logger
from runtime.settings import Settings

logger = get_logger(__name__)

NOTIFICATIONS_PATH = "/notifications/"


def create_app(settings: Settings) -> ASGIApp:
    """Create the app of one process; call it after any fork, because engines and clients must not be shared."""
    create_series(settings.tenants)
    draining = Draining(settings.drain)
    process = AcceptingProcess(settings, "serve", draining.probe(), resend_tenants=settings.tenants)
    health = Health(process.readiness)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        draining.delay_signals()
        async with process.running():
            logger.info("accepting", host=settings.host, port=settings.port, tenants=sorted(settings.tenants))
            yield
        logger.info("stopped")

    bodies = Bodies(settings.body_limit_bytes, settings.waiting_bytes)
    acceptor = Acceptor(settings.tenants, process.committer)
    notifications = Notifications(acceptor, bodies)
    route = Route(f"{NOTIFICATIONS_PATH}{{tenant}}", notifications, methods=["POST"])
    rest = Starlette(
        routes=[
            route,
            Route("/healthz", health.alive),
            Route("/readyz", health.ready),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _server_error},
        lifespan=lifespan,
    )
    app = NotificationsFirst(notifications, route, ignore_trailing_slash(rest))
    if not settings.tracing:
        return app
    # Imported here, so that a process without traces loads nothing of OpenTelemetry.
    from receiver.accept.tracing import traced

    return traced(app, acceptor)


class NotificationsFirst:
    """An app that passes notifications to their endpoint, and every other request to Starlette.

    Starlette's routing and error handling cost as much as verifying a notification, and a notification needs neither:
    its path is a fixed prefix, and its endpoint answers failures itself.
    """

    def __init__(self, notifications: Notifications, route: Route, rest: ASGIApp) -> None:
        self._notifications = notifications
        self._route = route
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            before, prefix, tenant = scope["path"].partition(NOTIFICATIONS_PATH)
            tenant = tenant.removesuffix("/")
            if prefix and tenant and not before and "/" not in tenant:
                scope["path_params"] = {"tenant": tenant}
                scope["route"] = self._route  # as Starlette does, for traces
                await self._notifications(scope, receive, send)
                return
        await self._rest(scope, receive, send)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    body: dict[str, Any] = {"error": code, "message": f"{error.detail}."}
    return JSONResponse(body, error.status_code, headers=error.headers)


async def _server_error(_request: Request, _error: Exception) -> Response:
    # Our failure is never the sender's fault, so it should send again.
    body = {"error": "unavailable", "message": "The receiver failed; send the request again."}
    return JSONResponse(body, 503, headers={"Retry-After": "5"})
