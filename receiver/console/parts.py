"""Parts of pages that take longer than a page may: the page asks for them when it is shown."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from receiver.console.console import Console


def show_part(request: Request, template: str, title: str, **values: Any) -> Response:
    """Render a part, or a page that holds nothing else for a browser that runs no scripts.

    Parameters:
        title: the title of that page.
        values: what the template shows.
    """
    console = Console.of(request)
    if "hx-request" in request.headers:
        return console.page(request, template, **values)
    return console.page(request, "part.html", part=template, title=title, **values)
