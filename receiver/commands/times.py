"""Times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import typer


def parse_time(value: str) -> datetime:
    """Parse a date or a time in ISO 8601; a time without an offset is UTC.

    Raises:
        typer.BadParameter: the value is neither.
    """
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter(
            f"{value} is not a time: write it like 2026-03-01, 2026-03-01T12:30 or 2026-03-01T12:30:00+01:00."
        ) from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def time_option(name: str, meaning: str) -> Any:
    """Return an option whose value is a time."""
    return typer.Option(name, parser=parse_time, metavar="TIME", help=f"{meaning} (ISO 8601; UTC without an offset).")
