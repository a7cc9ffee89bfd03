"""Streams of server-sent events: what the poller found, for each open page."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from receiver.console.live.poller import Message, Poller


class Streams:
    """The endpoint ``/live/TOPIC``."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller

    @property
    def routes(self) -> list[Route]:
        """The routes of the streams."""
        return [Route("/live/{topic}", self.show)]

    async def show(self, request: Request) -> Response:
        """Answer with a stream that ends when the page closes it, or when it missed too much to continue."""
        topic = request.path_params["topic"]
        if topic not in self._poller.topics:
            raise HTTPException(404, "Nothing with this name is shown live.")
        return StreamingResponse(
            self._events(topic, request.headers.get("last-event-id")),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},  # nginx would hold messages back
        )

    async def _events(self, topic: str, last_id: str | None) -> AsyncIterator[str]:
        yield ": open\n\n"
        async with contextlib.aclosing(self._poller.follow(topic, last_id)) as messages:
            async for message in messages:
                yield encode(message)


def encode(message: Message) -> str:
    """Return a message in the form of server-sent events."""
    lines = [f"id: {message.message_id}"] if message.message_id else []
    if message.event:
        lines.append(f"event: {message.event}")
    lines += [f"data: {line}" for line in message.body.splitlines() or [""]]
    return "\n".join(lines) + "\n\n"
