"""Request paths with a trailing slash."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send


def ignore_trailing_slash(app: Starlette) -> ASGIApp:
    """Return an app for which a path with a trailing slash is the same as without.

    Starlette would redirect, and to clear text, because behind a proxy that ends TLS it does not know the scheme.
    """
    app.router.redirect_slashes = False

    async def without_slash(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/":
            scope["path"] = scope["path"].removesuffix("/")
        await app(scope, receive, send)

    return without_slash
