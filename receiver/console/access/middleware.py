"""What every request to the console passes: the host, the origin of what acts, the sign-in, and headers of safety."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receiver.console.access.sign_in import SignIns

#: Nothing but our own files is loaded, nothing inline runs, and no other site may frame a page.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

#: What people who are not signed in may see: the form, and what it is drawn with.
OPEN_PATHS = ("/sign-in", "/static/", "/healthz")

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class SecurityHeaders:
    """Adds the headers of safety to each response, and lets no browser keep a page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Access:
    """Lets requests pass that may pass, with the user in ``scope["user"]``.

    Without configured users only requests to this machine's own names pass: otherwise a page of another site could
    read the console through a name that it controls. What changes something has to come from a page of the console.
    """

    def __init__(self, app: ASGIApp, sign_ins: SignIns) -> None:
        self._app = app
        self._sign_ins = sign_ins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        response = self._refusal(scope, connection.headers)
        if response is None:
            user = self._sign_ins.user_of(connection)
            scope["user"] = user
            if user is None and not scope["path"].startswith(OPEN_PATHS):
                response = _to_sign_in(connection)
        await (response or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if not self._sign_ins.required and _host_name(headers) not in _LOOPBACK:
            return PlainTextResponse(
                "This console has no users, so it answers on this machine only: open http://127.0.0.1, or configure"
                " [console.users.NAME] in the tenants file.",
                421,
            )
        if scope["method"] not in _SAFE_METHODS and not is_same_origin(headers):
            return PlainTextResponse("This was not sent by a page of the console.", 403)
        return None


def is_same_origin(headers: Headers) -> bool:
    """Return whether a request was sent by a page of the console.

    Browsers send ``Sec-Fetch-Site`` to addresses that they trust, and ``Origin`` to the others.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    try:
        origin = urlsplit(headers.get("origin", "")).netloc
    except ValueError:
        return False
    return bool(origin) and origin == headers.get("host")


def _host_name(headers: Headers) -> str:
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _to_sign_in(connection: HTTPConnection) -> Response:
    if connection.scope["method"] not in _SAFE_METHODS or "hx-request" in connection.headers:
        # A part of a page: let the whole page lead to the form.
        return PlainTextResponse("Sign in first.", 401, headers={"HX-Redirect": "/sign-in"})
    url = connection.url
    page = f"{url.path}?{url.query}" if url.query else url.path
    return RedirectResponse(f"/sign-in?then={quote(page, safe='')}", 303)
