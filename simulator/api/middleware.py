"""Middleware for every call of the API: it checks the token, injects faults and sets the tenant's ``Date``."""

from __future__ import annotations

import asyncio
import hmac
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ampeco.api.answer_headers import endpoint_of
from simulator.api.problems import Problem, problem_response
from simulator.settings import Faults

#: The window of the rate limit.
WINDOW_SECONDS = 60

#: The limit in calls a minute, and the seconds to wait, of a 429 that is random and not from a limit.
CLAIMED_LIMIT = 300
RETRY_AFTER_SECONDS = 2

#: The release of AMPECO that the tenant runs.
APP_VERSION = "3.251.0"

#: Endpoints that AMPECO will remove, and when.
DEPRECATED = dict.fromkeys(
    ("users/v1.0", "sub-operators/v1.0", "partner-revenues/v1.1", "partner-expenses/v1.1"),
    datetime(2027, 3, 1, tzinfo=UTC),
)

#: An id beyond the range of any database; Python refuses to parse a number of thousands of digits.
_ENDLESS_ID = re.compile(r"/[0-9]{19,}")


class Window:
    """A counter of calls in fixed windows of real time."""

    def __init__(self) -> None:
        self._ends_at = 0.0
        self._calls = 0

    def take(self, limit: int) -> dict[str, str] | None:
        """Count one call; return the headers of a refusal if the window has none left."""
        now = time.monotonic()
        if now >= self._ends_at:
            self._ends_at, self._calls = now + WINDOW_SECONDS, 0
        if self._calls >= limit:
            return _limit_headers(limit, max(int(self._ends_at - now) + 1, 1))
        self._calls += 1
        return None

    def headers(self, limit: int) -> dict[str, str]:
        """Return the headers that show the limit on an answer within it."""
        return {"X-RateLimit-Limit": str(limit), "X-RateLimit-Remaining": str(max(limit - self._calls, 0))}


class Guard:
    """ASGI middleware around the API; it passes calls of other paths on unchanged."""

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
        self._rng = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._window = Window()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused call, and pass the others on; every answer gets the tenant's ``Date``."""
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
                if faults.api_calls_a_minute and message["status"] != 429:
                    limit = self._window.headers(faults.api_calls_a_minute)
                    headers += [(name.lower().encode(), value.encode()) for name, value in limit.items()]
                headers.append((b"x-app-version", APP_VERSION.encode()))
                if (sunset := DEPRECATED.get(endpoint_of(scope["path"]))) is not None:
                    headers += [(b"deprecation", b"true"), (b"sunset", format_datetime(sunset, usegmt=True).encode())]
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
        if faults.api_calls_a_minute:
            refusal = self._window.take(faults.api_calls_a_minute)
            if refusal is not None:
                return Problem(429, headers=refusal)
        if _resource(request.scope["path"]) in faults.api_forbidden:
            return Problem(403)
        if not faults.api_not_offered.isdisjoint(_resources(request.scope["path"])):
            return Problem(404, "Feature is not enabled")
        if not faults.api_unrouted.isdisjoint(_resources(request.scope["path"])):
            return Problem(404, f"The route {request.scope['path'].lstrip('/')} could not be found.")
        if self._rng.random() < faults.api_429:
            return Problem(429, headers=_limit_headers(CLAIMED_LIMIT, RETRY_AFTER_SECONDS))
        if self._rng.random() < faults.api_500:
            return Problem(500)
        if _ENDLESS_ID.search(request.scope["path"]):
            return Problem(404)
        return None


def _shape(path: str) -> str:
    """Return a path with placeholders for its ids, so that calls of the same sort are counted together."""
    return "/".join("{id}" if part.isdecimal() else part for part in path.split("/"))


def _resource(path: str) -> str:
    """Return the resource in a path, such as ``sessions`` in ``/public-api/resources/sessions/v1.0``."""
    parts = path.removeprefix("/public-api/").split("/")
    return parts[1] if parts[0] in ("resources", "actions") and len(parts) > 1 else parts[0]


def _resources(path: str) -> set[str]:
    """Return the resource in a path, without its version and with it, such as ``sessions`` and ``sessions/v1.0``."""
    return {_resource(path), endpoint_of(path)}


def _limit_headers(limit: int, retry_after_seconds: int) -> dict[str, str]:
    return {
        "Retry-After": str(retry_after_seconds),
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(time.time()) + retry_after_seconds),
    }
