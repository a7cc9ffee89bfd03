"""An HTTP/1.1 client for POSTs, with as little overhead as Python allows.

A day in a minute is about eight hundred notifications a second, and a general client uses most of a
core for half of that. This client only posts a body on a connection that stays open, and reads the
answer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import cast
from urllib.parse import urlsplit

import httptools
from pydantic import HttpUrl, TypeAdapter

#: The bytes of an answer that are kept; a receiver's id is far shorter, and the rest is read and dropped.
MAX_ANSWER_BYTES = 4_096

#: The number of addresses to which one poster keeps a connection.
MAX_CONNECTIONS = 4

_ADDRESS: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)


class UnreachableError(Exception):
    """There was no answer, it was not HTTP, or it was not in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's status, and the beginning of its body."""

    status: int
    content: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is a 2xx."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class _Target:
    """The parts of a URL that a request needs; ``head`` is the request line and the ``host`` header."""

    host: str
    port: int
    is_encrypted: bool
    head: str


@lru_cache(maxsize=1_024)
def _target(url: str) -> _Target:
    parts = urlsplit(str(_ADDRESS.validate_python(url)))  # as it is sent: escaped, in ASCII
    host, encrypted = parts.hostname or "", parts.scheme == "https"
    default_port = 443 if encrypted else 80
    port = parts.port or default_port
    named = f"[{host}]" if ":" in host else host
    name = named if port == default_port else f"{named}:{port}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Target(host, port, encrypted, f"POST {path} HTTP/1.1\r\nhost: {name}\r\n")


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self) -> None:
        self.is_open = False
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._new_answer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has the same methods, but another base class
        self.is_open = True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._answer is None or self._answer.done():
            return
        if self._has_headers:  # an answer without a length ends with its connection
            self._answer.set_result(Answer(self._status, b"".join(self._content)))
        else:
            self._answer.set_exception(UnreachableError("the connection was closed before an answer"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(UnreachableError("the answer is not HTTP"))

    # The parser calls the three methods below.

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        self._has_headers = self._status >= 200

    def on_body(self, body: bytes) -> None:
        if self._kept_bytes < MAX_ANSWER_BYTES:
            self._content.append(body[: MAX_ANSWER_BYTES - self._kept_bytes])
            self._kept_bytes += len(self._content[-1])

    def on_message_complete(self) -> None:
        if self._status < 200:  # an interim answer: the final one follows
            return
        if not self._parser.should_keep_alive():
            self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(self._status, b"".join(self._content)))

    async def post(self, request: bytes) -> Answer:
        """Send a complete request and read its answer."""
        assert self._transport is not None
        self._new_answer()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    def _new_answer(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._has_headers = False
        self._content: list[bytes] = []
        self._kept_bytes = 0


class Poster:
    """A client that posts one body at a time, and keeps its connections open in between.

    It follows no redirect and uses no proxy, so it sends only to addresses with a subscription.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._connections: dict[tuple[str, int, bool], _Connection] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post a body.

        Raises:
            UnreachableError: there was no answer.
        """
        target = _target(url)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"{target.head}{lines}content-length: {len(body)}\r\n\r\n".encode() + body
        key = target.host, target.port, target.is_encrypted
        connection = self._connections.pop(key, None)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if connection is None or not connection.is_open:
                    connection = await self._connect(target)
                answer = await connection.post(request)
        except BaseException as error:
            # After a failure or a cancellation, a late answer must not count for the next request.
            if connection is not None:
                connection.close()
            # A UnicodeError is a host name that cannot be encoded for DNS, such as one with an empty label.
            if isinstance(error, OSError | TimeoutError | UnicodeError):
                raise UnreachableError(str(error) or "it took too long") from error
            raise
        self._keep(key, connection)
        return answer

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    async def _connect(self, target: _Target) -> _Connection:
        loop = asyncio.get_running_loop()
        context = _tls() if target.is_encrypted else None
        _, connection = await loop.create_connection(_Connection, target.host, target.port, ssl=context)
        return connection

    def _keep(self, key: tuple[str, int, bool], connection: _Connection) -> None:
        if connection.is_open:
            self._connections[key] = connection
        while len(self._connections) > MAX_CONNECTIONS:
            self._connections.pop(next(iter(self._connections))).close()
