"""Times as people write them, on the command line and in the console."""

from __future__ import annotations

from datetime import UTC, datetime


class TimeError(ValueError):
    """A text is no time; the message is one sentence for the person who wrote it."""


def parse_time(value: str) -> datetime:
    """Parse a date or a time in ISO 8601; a time without an offset is UTC.

    Raises:
        TimeError: the value is neither.
    """
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # an offset may lead out of the years 1 to 9999
        raise TimeError(
            f"{value} is not a time: write it like 2026-03-01, 2026-03-01T12:30 or 2026-03-01T12:30:00+01:00."
        ) from None
