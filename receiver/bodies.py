"""Reading a request's body: each bounded, and all that are under way bounded together."""

from __future__ import annotations

from starlette.types import Receive

#: A body of AMPECO's has a few KiB. One this short is read however much others are
#: sending, so that strangers with long ones do not keep it out.
SHORT_BYTES = 64 * 1024


class TooLongError(Exception):
    """The body is longer than any may be; it was not read to its end."""


class TooManyError(Exception):
    """Too many long bodies are being read; this one was not read to its end."""


class ClientLeftError(Exception):
    """The client is gone."""


class Bodies:
    """Reads bodies.

    Parameters:
        max_bytes: of one body.
        max_total_bytes: of all bodies together that are being read and are not short.
    """

    def __init__(self, max_bytes: int, max_total_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._held_bytes = 0

    async def read(self, receive: Receive) -> bytes:
        """The whole body.

        Raises:
            TooLongError, TooManyError, ClientLeftError: there is none.
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
