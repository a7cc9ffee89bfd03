"""Paths with a slash at their end."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send


def ignore_trailing_slash(app: Starlette) -> ASGIApp:
    """Return the app with each path meaning the same with a slash at its end.

    Starlette would redirect, and to clear text: behind what ends TLS it cannot know how it was reached.
    """
    app.router.redirect_slashes = False

    async def without_slash(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/":
            scope["path"] = scope["path"].removesuffix("/")
        await app(scope, receive, send)

    return without_slash
