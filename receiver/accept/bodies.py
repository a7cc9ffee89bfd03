"""Read request bodies, with a limit for each, and for all bodies that are being read together."""

from __future__ import annotations

from starlette.types import Receive

#: Bodies of AMPECO have a few KiB. A body up to this length is read however much other clients are sending, so that
#: strangers with long bodies cannot exclude it.
SHORT_BYTES = 64 * 1024


class TooLongError(Exception):
    """The body is longer than the limit; it was not read to its end."""


class TooManyError(Exception):
    """Too many long bodies are being read; this one was not read to its end."""


class ClientLeftError(Exception):
    """The client closed the connection."""


class Bodies:
    """Reads bodies within limits.

    Parameters:
        max_bytes: longest body, bytes.
        max_total_bytes: most bytes of all bodies that are being read, beyond which only short bodies are read.
    """

    def __init__(self, max_bytes: int, max_total_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._held_bytes = 0

    async def read(self, receive: Receive) -> bytes:
        """Return the whole body of a request.

        Raises:
            TooLongError: the body is longer than the limit.
            TooManyError: too many long bodies are being read.
            ClientLeftError: the client closed the connection before the end.
        """
        message = await receive()
        body: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body", False):
            if len(body) > self.max_bytes:
                raise TooLongError
            return body
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                if message["type"] == "http.disconnect":
                    raise ClientLeftError
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                self._held_bytes += len(part)
                if size > self.max_bytes:
                    raise TooLongError
                if size > SHORT_BYTES and self._held_bytes > self._max_total_bytes:
                    raise TooManyError
                if not message.get("more_body", False):
                    return b"".join(parts)
                message = await receive()
        finally:
            self._held_bytes -= size
