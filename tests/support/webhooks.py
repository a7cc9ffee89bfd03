"""A webhook that takes messages to people, and answers as a test says."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

#: The path of the webhook, whose last part is a secret.
PATH = "/services/T0000001/webhook-passphrase-5be1"


class FakeWebhook:
    """A webhook at :data:`PATH`.

    Attributes:
        messages: the documents of all requests, in order.
        statuses: the statuses of the next answers; then each is 200.
        echoes: whether an answer shows the path of its request, as a careless proxy does.
        hangs: whether requests that come now are answered only once ``released`` is set.
        elsewhere: requests for another path, such as the target of a redirect.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.echoes = False
        self.hangs = False
        self.released = False
        self.elsewhere: list[str] = []
        self.app = Starlette(
            routes=[
                Route(PATH, self._take, methods=["POST"]),
                Route("/{path:path}", self._note, methods=["GET", "POST"]),
            ]
        )

    async def _take(self, request: Request) -> Response:
        self.messages.append(await request.json())
        if self.hangs:
            while not (self.released or await request.is_disconnected()):  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.02)
        status = self.statuses.pop(0) if self.statuses else 200
        shown = f"Cannot POST {request.url.path}" if self.echoes else "ok"
        return PlainTextResponse(shown, status, headers={"Location": "/elsewhere"} if 300 <= status < 400 else None)

    async def _note(self, request: Request) -> Response:
        self.elsewhere.append(request.url.path)
        return PlainTextResponse("ok")

    def states(self) -> list[str]:
        """Return the states of the messages, in order."""
        return [message["state"] for message in self.messages]
