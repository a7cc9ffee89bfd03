"""Limits for clients: time, bytes and connections.

With httptools uvicorn limits none of these: its keep-alive timer starts with the first answer and again with each byte,
a head may have any length, and pipelined requests are queued without a limit. Its ``limit_concurrency`` also counts
idle connections and rejects the next one, so that a client with enough idle connections excludes AMPECO. Here the
connections that have waited longest for their client are closed instead.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.server import ServerState

from receiver.accept.metrics import CONNECTIONS_CUT, CutReason
from receiver.accept.plain_http import PlainHttpProtocol
from runtime.logging import get_logger
from runtime.settings import Settings, load_settings

logger = get_logger(__name__)

#: Longest request line and headers together. Those of AMPECO and of proxies have about one KiB.
HEAD_LIMIT_BYTES = 32 * 1024

#: Most requests that a client may send before their answers. AMPECO waits for each answer.
MAX_PIPELINED = 16

#: How often connections are checked; a client has at most this much more time.
TICK_SECONDS = 1.0

#: If there are too many connections, this fraction of the limit is closed at once, so that the search costs little for
#: each new connection.
LEAVING_PART = 20

#: Open files besides the connections: Postgres, Redis, listeners, logs, libraries.
OTHER_FILES = 128


class Clients:
    """The connections of one process.

    Parameters:
        connections: the open connections; uvicorn maintains the set.
        limit: most open connections.
        request_seconds: how long a client may take to send a request, and to read an answer.
        keep_alive_seconds: how long a connection may stay open without a request.
        max_request_bytes: longest request on the wire, with its head and all framing.
    """

    def __init__(
        self,
        connections: set[Any],
        *,
        limit: int,
        request_seconds: float,
        keep_alive_seconds: float,
        max_request_bytes: int,
    ) -> None:
        self.max_request_bytes = max_request_bytes
        self._connections = connections
        self._limit = limit
        self._request_seconds = request_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._checked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def came(self, loop: asyncio.AbstractEventLoop) -> None:
        """Handle a new connection: close others if there are too many, and start the regular check."""
        if len(self._connections) > self._limit:
            self._make_room()
        if self._timer is None:
            self._checked_at = loop.time()
            self._timer = loop.call_later(TICK_SECONDS, self._check, loop)

    def _make_room(self) -> None:
        # Connections whose client waits for our answer stay open; the waiting room limits their number.
        waiting = [connection for connection in self._connections if connection.waits_since is not None]
        waiting.sort(key=lambda connection: connection.waits_since)
        # The last one is the new connection.
        leaving = waiting[: max(self._limit // LEAVING_PART, 1)][: len(waiting) - 1]
        for connection in leaving:
            connection.cut("crowded")
        if leaving:
            logger.warning("too many connections, closing those that are idle longest", closed=len(leaving))

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        # If this process was stopped or busy, the clients were delayed by us, so their time starts again.
        was_delayed = now - self._checked_at > 2 * TICK_SECONDS
        for connection in list(self._connections):
            if connection.waits_since is None:
                continue
            limit = self._request_seconds if connection.is_amid else self._keep_alive_seconds
            if was_delayed:
                connection.waits_since = now
            elif now - connection.waits_since > limit:
                connection.cut("slow" if connection.is_amid else "silent")
        self._checked_at = now
        self._timer = loop.call_later(TICK_SECONDS, self._check, loop) if self._connections else None


class GuardedProtocol(PlainHttpProtocol):
    """uvicorn's HTTP/1.1 protocol with a deadline for each request and a limit of its length.

    Attributes:
        waits_since: since when the connection waits for its client; None while the client waits for us.
        is_amid: whether the client has begun to send a request or to read an answer.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.waits_since: float | None = None
        self.is_amid = False
        self._received_bytes = 0
        self._clients = _clients_of(server_state)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Handle a new connection."""
        super().connection_made(transport)
        self.waits_since = self.loop.time()
        self._clients.came(self.loop)

    def data_received(self, data: bytes) -> None:
        """Handle received data, and close the connection if a limit is exceeded."""
        super().data_received(data)
        cycle = self.cycle
        # Each head starts with a scope of its own, which gets a cycle when the head is complete.
        has_head = cycle is not None and cycle.scope is self.scope
        if has_head and not cycle.more_body:
            self.waits_since = None
            self.is_amid = False
            if len(self.pipeline) > MAX_PIPELINED:
                self.cut("pipelined")
            return
        if not self.is_amid:
            self.waits_since = self.loop.time()
            self.is_amid = True
            self._received_bytes = 0  # not counted, because this data may contain the end of the last request
            return
        self._received_bytes += len(data)
        if self._received_bytes > (self._clients.max_request_bytes if has_head else HEAD_LIMIT_BYTES):
            self.cut("long" if has_head else "long head")

    def on_response_complete(self) -> None:
        """Handle the end of an answer."""
        super().on_response_complete()
        if not self.is_amid and self.cycle.response_complete:
            self.waits_since = self.loop.time()

    def pause_writing(self) -> None:
        """Handle a client that does not read its answer."""
        super().pause_writing()
        self.waits_since = self.loop.time()
        self.is_amid = True

    def resume_writing(self) -> None:
        """Handle a client that reads its answer again."""
        super().resume_writing()
        self.waits_since = self.loop.time() if self.cycle.response_complete else None
        self.is_amid = False

    def cut(self, reason: CutReason) -> None:
        """Close the connection, with an error answer if the client expects one and it can be sent."""
        if self.transport.is_closing():
            return
        CONNECTIONS_CUT.labels(reason).inc()
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # the client does not read, so an orderly close would wait for it
            return
        is_answered = self.cycle is not None and self.cycle.scope is self.scope and self.cycle.response_started
        if self.is_amid and not is_answered and reason in _ANSWERS:
            self.transport.write(_ANSWERS[reason])
        self.transport.close()


def _answer(status: bytes, code: bytes, message: bytes) -> bytes:
    body = b'{"error":"%s","message":"%s"}' % (code, message)
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status, len(body)) + body


_ANSWERS = {
    "slow": _answer(b"408 Request Timeout", b"too_slow", b"The request did not arrive in time; send it again."),
    "long": _answer(b"413 Content Too Large", b"too_large", b"The request is too long."),
    "long head": _answer(b"431 Request Header Fields Too Large", b"too_large", b"The headers are too long."),
}

#: The clients of each server. A process has one server; tests have several.
_all_clients: WeakKeyDictionary[ServerState, Clients] = WeakKeyDictionary()


def _clients_of(server: ServerState) -> Clients:
    if server not in _all_clients:
        settings = load_settings()
        _all_clients[server] = Clients(
            server.connections,
            limit=make_files(settings),
            request_seconds=settings.request_timeout.total_seconds(),
            keep_alive_seconds=settings.keep_alive.total_seconds(),
            # Twice the limit of a body allows for the framing of chunks of a sensible size.
            max_request_bytes=2 * settings.body_limit_bytes + HEAD_LIMIT_BYTES,
        )
    return _all_clients[server]


def make_files(settings: Settings) -> int:
    """Raise the limit of open files of this process as far as its connections need it.

    Returns:
        The number of connections that it may have: fewer than configured if the system allows no more.
    """
    needed = settings.connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return settings.connections
    limit = max(soft - OTHER_FILES, 1)
    logger.warning("fewer connections than configured: raise the limit of open files", files=soft, connections=limit)
    return limit
