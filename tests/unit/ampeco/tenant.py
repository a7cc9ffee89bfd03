"""A tenant's API in memory: it gives the answers of a test, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from pydantic import SecretStr

from ampeco.api.client import Client

TOKEN = "amp_live_hunter2"
BASE_URL = "https://tenant.example.com"


class FakeTenant:
    """Answers requests with ``replies`` in turn, the last one for ever after."""

    def __init__(self, *replies: httpx.Response | Exception) -> None:
        self.requests: list[httpx.Request] = []
        self._replies: Iterator[httpx.Response | Exception] = iter(replies)
        self._reply: httpx.Response | Exception = httpx.Response(500)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self._reply = next(self._replies, self._reply)
        if isinstance(self._reply, Exception):
            raise self._reply
        return self._reply

    def client(self, **options: Any) -> Client:
        return Client(BASE_URL, SecretStr(TOKEN), transport=httpx.MockTransport(self), **options)

    @property
    def calls(self) -> list[str]:
        """The method and path of each request."""
        return [f"{request.method} {request.url.path}" for request in self.requests]

    def query(self, position: int = -1) -> dict[str, str]:
        """The query of one request."""
        return dict(self.requests[position].url.params.multi_items())


def answer(body: object, status: int = 200, **headers: str) -> httpx.Response:
    """A JSON answer; a header's underscores become hyphens."""
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})
