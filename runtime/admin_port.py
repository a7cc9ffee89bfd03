"""Admin endpoints: the listening sockets, the check of the admin token, and the endpoints of a worker.

The admin endpoints of ``serve`` are in :mod:`receiver.admin.app`. Both use the same address and token.
"""

from __future__ import annotations

import hmac
import json
import socket
from http.server import ThreadingHTTPServer

from prometheus_client import MetricsHandler
from pydantic import SecretStr

from runtime.background import supervised_thread
from runtime.logging import get_logger
from runtime.readiness import Readiness, document_of, problem_of
from runtime.settings import Settings
from runtime.sockets import bind, is_loopback

logger = get_logger(__name__)

_SCHEME = "bearer "

#: A client that connects and then sends nothing occupies a thread for at most this long.
REQUEST_TIMEOUT_SECONDS = 10


class Guard:
    """Admits requests that contain the admin token, or all requests if no token is configured."""

    def __init__(self, token: SecretStr | None) -> None:
        self._token = None if token is None else token.get_secret_value().encode()

    def admits(self, authorization: str | None) -> bool:
        """Return whether this ``Authorization`` header contains the token; it is compared in constant time."""
        if self._token is None:
            return True
        header = authorization or ""
        token = header[len(_SCHEME) :].strip() if header[: len(_SCHEME)].lower() == _SCHEME else ""
        return hmac.compare_digest(self._token, token.encode("utf-8", "surrogateescape"))


def open_admin_listener(settings: Settings, port: int, *, setting: str) -> list[socket.socket]:
    """Listen on the admin host, on each of its addresses.

    Parameters:
        port: the port to listen on; 0 means any free port.
        setting: the setting that an error names.

    Raises:
        SettingsError: the address or the port is not available.
    """
    listeners = bind(settings.admin_host, port, setting=setting)
    for listener in listeners:
        listener.listen()
    if settings.admin_secret() is None and not all(is_loopback(listener) for listener in listeners):
        logger.warning("the admin endpoints are open to everyone who reaches this port: set RECEIVER_ADMIN_TOKEN")
    return listeners


class _Pages(MetricsHandler):
    """The admin endpoints: ``/metrics`` needs the token, ``/healthz`` does not, ``/readyz`` shows details with it."""

    timeout = REQUEST_TIMEOUT_SECONDS
    guard: Guard
    readiness: Readiness

    def do_GET(self) -> None:  # noqa: N802 - named by http.server
        """Answer a request."""
        path = self.path.partition("?")[0].removesuffix("/")
        if path == "/healthz":
            self._answer(200, b'{"status":"alive"}')
        elif path == "/readyz":
            self._answer_readiness()
        elif not self.guard.admits(self.headers.get("Authorization")):
            self._answer(401, b'{"error":"unauthorized","message":"The admin token is required."}')
        elif path != "/metrics":
            self._answer(404, b'{"error":"not_found","message":"Not Found."}')
        else:
            super().do_GET()

    def _answer_readiness(self) -> None:
        checks = self.readiness.checks()
        status = 200 if problem_of(checks) is None else 503
        is_admin = self.guard.admits(self.headers.get("Authorization"))
        self._answer(status, json.dumps(document_of(checks)).encode() if is_admin else b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        if body:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve_worker_metrics(
    settings: Settings, port: int, readiness: Readiness, *, setting: str = "RECEIVER_WORK_METRICS_PORT"
) -> int:
    """Serve the metrics and the readiness of this process from a thread; return the port.

    Parameters:
        setting: the setting that an error names.

    Raises:
        SettingsError: the port is not available.
    """
    listeners = open_admin_listener(settings, port, setting=setting)
    handler = type("Pages", (_Pages,), {"guard": Guard(settings.admin_secret()), "readiness": readiness})
    for listener in listeners:
        server = ThreadingHTTPServer(("", 0), handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        supervised_thread("admin endpoints", server.serve_forever).start()
    bound_port: int = listeners[0].getsockname()[1]
    return bound_port
