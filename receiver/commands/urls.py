"""URLs on the command line."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import typer


def _parse_url(value: str) -> str:
    """Return a URL of HTTP as it was given.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        parts = urlsplit(value)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return value
    except ValueError:  # the port is no number, or an address of IPv6 has no end
        pass
    raise typer.BadParameter(f"{value} is no URL such as https://receiver.example.com")


def url_option(name: str, meaning: str) -> Any:
    """Return an option whose value is a URL of HTTP."""
    return typer.Option(name, parser=_parse_url, metavar="URL", help=meaning)
