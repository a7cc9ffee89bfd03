"""Times on the command line."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import typer

from receiver import times
from storage.clock import clock


def parse_time(value: str) -> datetime:
    """Parse the value of an option; see :func:`receiver.times.parse_time`.

    Raises:
        typer.BadParameter: the value is no time.
    """
    try:
        return times.parse_time(value)
    except times.TimeError as error:
        raise typer.BadParameter(str(error)) from None


def require_past(when: datetime | None, option: str) -> None:
    """Refuse a time in the future, by Postgres's clock as far as it is known.

    Raises:
        typer.BadParameter: it is in the future.
    """
    if when is not None and when > clock.now():
        raise typer.BadParameter(f"{when:%Y-%m-%d %H:%M:%S} UTC is in the future", param_hint=option)


def time_option(name: str, meaning: str) -> Any:
    """Return an option whose value is a time."""
    return typer.Option(name, parser=parse_time, metavar="TIME", help=f"{meaning} (ISO 8601; UTC without an offset).")
