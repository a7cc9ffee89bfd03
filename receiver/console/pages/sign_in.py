"""The form to sign in, and the way out."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from receiver.console.console import Console
from runtime.logging import get_logger

logger = get_logger(__name__)


async def show(request: Request) -> Response:
    """Show the form."""
    then = _own_path(request.query_params.get("then"))
    return Console.of(request).page(request, "sign_in.html", then=then, problem=None)


async def sign_in(request: Request) -> Response:
    """Sign in with the token of the form, and lead to the page that was asked for."""
    console = Console.of(request)
    form = await request.form()
    then = _own_path(str(form.get("then", "/")))
    if console.sign_ins.is_locked():
        problem = "Too many attempts failed: wait a minute."
        return console.page(request, "sign_in.html", status=429, then=then, problem=problem)
    user = console.sign_ins.attempt(str(form.get("token", "")))
    if user is None:
        logger.warning("sign-in to the console failed")
        problem = "No user has this token."
        return console.page(request, "sign_in.html", status=403, then=then, problem=problem)
    logger.info("signed in to the console", user=user.name)
    response = RedirectResponse(then, 303)
    console.sign_ins.sign_in(response, user, secure=request.url.scheme == "https")
    return response


async def sign_out(request: Request) -> Response:
    """Sign out, and lead to the form."""
    response = RedirectResponse("/sign-in", 303)
    Console.of(request).sign_ins.sign_out(response)
    return response


def _own_path(then: str | None) -> str:
    """Return a path of the console, so that the form cannot lead to another site."""
    try:
        parts = urlsplit(then or "/")
    except ValueError:
        return "/"
    path = parts.path
    if parts.scheme or parts.netloc or not path.startswith("/") or path.startswith(("//", "/\\")):
        return "/"
    return f"{path}?{parts.query}" if parts.query else path


routes = [
    Route("/sign-in", show, methods=["GET"]),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
]
