"""What a client may keep of us: time, bytes and connections.

uvicorn bounds none of these with httptools: its keep-alive timer starts with the first
answer and again with each byte, a head may be of any length, and pipelined requests are
queued without end. Its ``limit_concurrency`` counts idle connections too and turns
the next one away, so that whoever holds enough of them keeps AMPECO out. Here the ones that
have waited longest for their client make room instead.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.server import ServerState

from receiver.metrics import CONNECTIONS_CUT
from receiver.plain_http import PlainHttpProtocol
from workers.logs import get_logger
from workers.settings import Settings, load_settings

logger = get_logger(__name__)

#: Longest request line and headers together. AMPECO's, and what proxies add, take about one KiB.
HEAD_LIMIT_BYTES = 32 * 1024

#: Requests that a client may send ahead of the answers. AMPECO waits for each.
MAX_PIPELINED = 16

#: How often connections are looked at; a client has at most this much more time.
TICK_SECONDS = 1.0

#: Of a full house this part is asked to leave at once, so that looking for them costs little
#: for each newcomer.
LEAVING_PART = 20

#: Files beside the connections: Postgres, Redis, listeners, logs, libraries.
OTHER_FILES = 128


class Clients:
    """The connections of one process.

    Parameters:
        connections: those that are open, kept by uvicorn.
        limit: how many may be open.
        request_seconds: how long a client may take over one request, and over reading an answer.
        keep_alive_seconds: how long a connection may stay without a request.
        max_request_bytes: on the wire, its head and all framing included.
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
        self._looked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def came(self, loop: asyncio.AbstractEventLoop) -> None:
        """A connection was opened: make room if it is one too many, and keep an eye on it."""
        if len(self._connections) > self._limit:
            self._make_room()
        if self._timer is None:
            self._looked_at = loop.time()
            self._timer = loop.call_later(TICK_SECONDS, self._look, loop)

    def _make_room(self) -> None:
        # Those that we owe an answer are left alone; the waiting room bounds their number.
        waiting = [one for one in self._connections if one.waits_since is not None]
        waiting.sort(key=lambda one: one.waits_since)
        # The newest is the one that has just come.
        leaving = waiting[: max(self._limit // LEAVING_PART, 1)][: len(waiting) - 1]
        for one in leaving:
            one.cut("crowded")
        if leaving:
            logger.warning("too many connections, closing those that were silent longest", closed=len(leaving))

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        # Who was held up by us, because we were stopped or busy, gets their time again.
        forgive = now - self._looked_at > 2 * TICK_SECONDS
        for one in list(self._connections):
            if one.waits_since is None:
                continue
            if forgive:
                one.waits_since = now
            elif now - one.waits_since > (self._request_seconds if one.is_amid else self._keep_alive_seconds):
                one.cut("slow" if one.is_amid else "silent")
        self._looked_at = now
        self._timer = loop.call_later(TICK_SECONDS, self._look, loop) if self._connections else None


class GuardedProtocol(PlainHttpProtocol):
    """uvicorn's HTTP/1.1 with a deadline for each request and a bound to all that it sends.

    Attributes:
        waits_since: since when it waits for its client; None while the client waits for us.
        is_amid: whether the client began something: to send a request, or to read an answer.
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
        super().connection_made(transport)
        self.waits_since = self.loop.time()
        self._clients.came(self.loop)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = self.cycle
        # Each head begins with a scope of its own, which becomes a cycle when it is complete.
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
            self._received_bytes = 0  # what came first may hold the end of the request before
            return
        self._received_bytes += len(data)
        if self._received_bytes > (self._clients.max_request_bytes if has_head else HEAD_LIMIT_BYTES):
            self.cut("long" if has_head else "long head")

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.is_amid and self.cycle.response_complete:
            self.waits_since = self.loop.time()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.waits_since = self.loop.time()
        self.is_amid = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self.waits_since = self.loop.time() if self.cycle.response_complete else None
        self.is_amid = False

    def cut(self, reason: str) -> None:
        """Close the connection on its client, with an answer where one is due and can be sent."""
        if self.transport.is_closing():
            return
        CONNECTIONS_CUT.labels(reason).inc()
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # it does not read: closing in order would wait for it
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

#: Of each server its clients; a process has one server, and tests have many.
_all_clients: WeakKeyDictionary[ServerState, Clients] = WeakKeyDictionary()


def _clients_of(server: ServerState) -> Clients:
    if server not in _all_clients:
        settings = load_settings()
        _all_clients[server] = Clients(
            server.connections,
            limit=make_files(settings),
            request_seconds=settings.request_timeout.total_seconds(),
            keep_alive_seconds=settings.keep_alive.total_seconds(),
            # Chunks of a sensible size double nothing.
            max_request_bytes=2 * settings.body_limit_bytes + HEAD_LIMIT_BYTES,
        )
    return _all_clients[server]


def make_files(settings: Settings) -> int:
    """Let this process open the files that its connections need.

    Returns:
        How many connections it may have: fewer than configured where the system allows no more.
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
