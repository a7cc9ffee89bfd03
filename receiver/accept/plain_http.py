"""uvicorn's HTTP/1.1 protocol, which ignores offers to upgrade to another protocol.

Java's HttpClient adds ``Upgrade: h2c`` to each request in clear text, and some proxies pass ``websocket`` on. A server
may ignore such an offer and answer as if it had not been made (RFC 9110, section 7.8). httptools instead assumes that
the other protocol follows the head, so that the body is lost and its signature cannot verify.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

#: The headers of an offer; ``Connection`` names them, too.
_OFFER = frozenset({b"upgrade", b"http2-settings"})


class PlainHttpProtocol(HttpToolsProtocol):
    """A protocol that reads a request with an offer to upgrade as the same request without the offer."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser = _Parser(self)

    @property
    def has_offer(self) -> bool:
        """Whether the request that is being parsed offers an upgrade; CONNECT has no body that could be lost."""
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def on_headers_complete(self) -> None:
        """Handle the end of a head, unless it has an offer."""
        if not self.has_offer:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Handle the end of a request, unless it has an offer."""
        if not self.has_offer:
            super().on_message_complete()

    def read_without_offer(self, rest: bytes) -> None:
        """Parse a request whose head has just been read again, without its offer.

        Parameters:
            rest: the data after the head.
        """
        offered = self.parser
        self.parser = _Parser(self)
        request_line = b"%s %s HTTP/%s" % (offered.get_method(), self.url, offered.get_http_version().encode())
        self.parser.feed_data(b"\r\n".join([request_line, *_without_offer(self.headers), b"", rest]))


class _Parser(httptools.HttpRequestParser):
    def __init__(self, protocol: PlainHttpProtocol) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def feed_data(self, data: bytes) -> None:  # type: ignore[override] # a socket gives nothing else
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as error:
            if not self._protocol.has_offer:
                raise
            self._protocol.read_without_offer(data[error.args[0] :])


def _without_offer(headers: list[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for name, value in headers:
        if name in _OFFER:
            continue
        if name == b"connection":
            words = [word.strip() for word in value.split(b",")]
            value = b", ".join(word for word in words if word.lower() not in _OFFER)
        yield b"%s: %s" % (name, value)
