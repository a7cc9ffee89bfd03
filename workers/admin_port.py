"""What operators alone may see: the listener's socket, who is let in, and a worker's own figures.

The pages of ``serve`` are in :mod:`receiver.admin_app`; both keep to the same address and token.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import socket
from http.server import ThreadingHTTPServer

from prometheus_client import MetricsHandler
from pydantic import SecretStr

from workers.background import supervised_thread
from workers.logs import get_logger
from workers.readiness import Readiness, document_of, problem_of
from workers.settings import Settings
from workers.sockets import bind

logger = get_logger(__name__)

_SCHEME = "bearer "

#: A client that connects and then says nothing holds a thread no longer than this.
REQUEST_TIMEOUT_SECONDS = 10


class Guard:
    """Lets in whoever shows the admin token, and everybody where there is none."""

    def __init__(self, token: SecretStr | None) -> None:
        self._token = None if token is None else token.get_secret_value().encode()

    def admits(self, authorization: str | None) -> bool:
        """Whether this ``Authorization`` header opens the pages; compared in constant time."""
        if self._token is None:
            return True
        shown = authorization or ""
        offered = shown[len(_SCHEME) :].strip() if shown[: len(_SCHEME)].lower() == _SCHEME else ""
        return hmac.compare_digest(self._token, offered.encode("utf-8", "surrogateescape"))


def open_admin_listener(settings: Settings, port: int, *, setting: str) -> list[socket.socket]:
    """Listen on the admin address; a name may have several.

    Parameters:
        port: 0 means any that is free.
        setting: names the port in an error.

    Raises:
        SettingsError: the address or the port cannot be had.
    """
    listeners = bind(settings.admin_host, port, setting=setting)
    for listener in listeners:
        listener.listen()
    if settings.admin_secret() is None and not all(_is_loopback(listener) for listener in listeners):
        logger.warning("anybody who reaches this port sees the admin endpoints: set RECEIVER_ADMIN_TOKEN")
    return listeners


def _is_loopback(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


class _Pages(MetricsHandler):
    """``/metrics`` for operators, ``/healthz`` for everybody, and ``/readyz``, with its reasons for operators alone."""

    timeout = REQUEST_TIMEOUT_SECONDS
    guard: Guard
    readiness: Readiness

    def do_GET(self) -> None:  # noqa: N802 - named by http.server
        path = self.path.partition("?")[0].removesuffix("/")
        if path == "/healthz":
            self._answer(200, b'{"status":"alive"}')
        elif path == "/readyz":
            self._answer_readiness()
        elif not self.guard.admits(self.headers.get("Authorization")):
            self._answer(401, b'{"error":"unauthorized","message":"The operators\' token is needed."}')
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


def serve_worker_metrics(settings: Settings, port: int, readiness: Readiness) -> int:
    """Serve this process's figures and readiness from a thread; returns the port.

    Raises:
        SettingsError: the port cannot be had.
    """
    listeners = open_admin_listener(settings, port, setting="RECEIVER_WORK_METRICS_PORT")
    handler = type("Pages", (_Pages,), {"guard": Guard(settings.admin_secret()), "readiness": readiness})
    for listener in listeners:
        server = ThreadingHTTPServer(("", 0), handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        supervised_thread("figures", server.serve_forever).start()
    bound: int = listeners[0].getsockname()[1]
    return bound
