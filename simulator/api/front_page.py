"""``GET /``: a page that describes the simulator and lists its endpoints."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>A simulated AMPECO tenant</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }}</style>
<h1>A simulated AMPECO tenant</h1>
<p>It answers like AMPECO's public API and sends signed notifications to its subscriptions.
It is not AMPECO, and it charges no vehicle.</p>
<p>Calls of the API need <code>Authorization: Bearer</code> with the token from the start of the simulator.
<a href="/control/state">Its state</a> shows its clock and its deliveries.</p>
<ul>
{endpoints}
</ul>
</html>
"""


def front_page(routes: Iterable[Route]) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """Return the endpoint of a page that lists ``routes``."""
    lines = [
        f"<li><code>{escape(method)} {escape(route.path.replace(':int', ''))}</code></li>"
        for route in routes
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]
    page = _PAGE.format(endpoints="\n".join(lines))

    async def endpoint(_request: Request) -> Response:
        return HTMLResponse(page)

    return endpoint
