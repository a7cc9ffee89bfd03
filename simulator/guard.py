"""What stands before every call of the API: token, faults on demand, the tenant's clock."""

from __future__ import annotations

import asyncio
import hmac
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simulator.problems import Problem, problem_response
from simulator.settings import Faults

#: Calls a minute that the 429 answers claim to allow.
CLAIMED_LIMIT = 300

RETRY_AFTER_SECONDS = 2


class Guard:
    """ASGI middleware around the API; lets other paths through."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str,
        now: Callable[[], datetime],
        faults: Callable[[], Faults],
        seed: int,
    ) -> None:
        self.app = app
        self.token = token
        self.calls: Counter[str] = Counter()
        self._now = now
        self._faults = faults
        self._rng = random.Random(seed + 2)  # noqa: S311 - faults, not secrets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/public-api/"):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        faults = self._faults()
        if faults.api_latency_ms:
            await asyncio.sleep(faults.api_latency_ms / 1000)

        async def send_with_date(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = format_datetime(self._now().astimezone(UTC), usegmt=True).encode()
                headers = [(name, value) for name, value in message["headers"] if name != b"date"]
                message = {**message, "headers": [*headers, (b"date", date)]}
                self.calls[f"{request.method} {_shape(scope['path'])} {message['status']}"] += 1
            await send(message)

        refusal = self._refusal(request, faults)
        if refusal is not None:
            response: Response = await problem_response(request, refusal)
            await response(scope, receive, send_with_date)
        else:
            await self.app(scope, receive, send_with_date)

    def _refusal(self, request: Request, faults: Faults) -> Problem | None:
        offered = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(offered, f"Bearer {self.token}".encode()):
            return Problem(401)
        if self._rng.random() < faults.api_429:
            return Problem(
                429,
                headers={
                    "Retry-After": str(RETRY_AFTER_SECONDS),
                    "X-RateLimit-Limit": str(CLAIMED_LIMIT),
                    "X-RateLimit-Remaining": "0",
                },
            )
        if self._rng.random() < faults.api_500:
            return Problem(500)
        return None


def _shape(path: str) -> str:
    """A path with its ids taken out, so that calls of one kind are counted together."""
    return "/".join("{id}" if part.isdecimal() else part for part in path.split("/"))
