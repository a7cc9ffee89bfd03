"""Read the filters of a page from its URL: what cannot be read is left out, and said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ampeco.values import MAX_BIGINT
from receiver.times import TimeError, parse_time

#: A longer text is no filter that a person types.
_MAX_TEXT = 200


class Query:
    """The query of a URL, and what was wrong with it.

    Attributes:
        problems: a sentence for each value that could not be read.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.problems: list[str] = []

    def choice(self, name: str, choices: Iterable[str]) -> str | None:
        """Return one of some words; None without one."""
        value = self._value(name)
        if value is None or value in choices:
            return value
        self._refuse(name, f"one of {', '.join(choices)}")
        return None

    def text(self, name: str) -> str | None:
        """Return a text that a person searches for, cut at a length that none types; None without one."""
        value = self._value(name)
        return None if value is None else value.replace("\0", "")[:_MAX_TEXT].strip() or None

    def identifier(self, name: str) -> int | None:
        """Return an id at AMPECO; None without one."""
        value = self._value(name)
        if value is None:
            return None
        if (identifier := parse_id(value)) is not None:
            return identifier
        self._refuse(name, "an id, which is a whole number")
        return None

    def number(self, name: str, greatest: int) -> Decimal | None:
        """Return a number that is not negative; None without one."""
        value = self._value(name)
        if value is None:
            return None
        with contextlib.suppress(InvalidOperation):
            number = Decimal(value)
            if number.is_finite() and 0 <= number <= greatest:
                return number
        self._refuse(name, f"a number between 0 and {greatest:,}")
        return None

    def day(self, name: str, *, after: int = 0) -> datetime | None:
        """Return when a day begins in UTC, or one that is some days after it; None without one."""
        value = self._value(name)
        if value is None:
            return None
        with contextlib.suppress(ValueError, OverflowError):
            day = date.fromisoformat(value) + timedelta(days=after)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        self._refuse(name, "a day such as 2026-03-04")
        return None

    def _value(self, name: str) -> str | None:
        return self._values.get(name, "").strip() or None

    def _refuse(self, name: str, expected: str) -> None:
        self.problems.append(f"The filter “{name}” is left out, because its value is not {expected}.")


def parse_id(value: str) -> int | None:
    """Return the id that a text is; None if it is none, or larger than any that is stored."""
    is_number = value.isascii() and value.isdigit() and len(value) < 20
    return int(value) if is_number and int(value) <= MAX_BIGINT else None


def id_of_path(request: Request, name: str = "id") -> int:
    """Return an id in the path of a page.

    Raises:
        HTTPException: 404, this is no id.
    """
    identifier = parse_id(str(request.path_params[name]))
    if identifier is None:
        raise HTTPException(404, f"An id is a number, and at most {MAX_BIGINT}.")
    return identifier


def encode_position(at: datetime | None, identifier: object) -> str:
    """Return a position in a list as a value of a URL."""
    return f"{'' if at is None else at.isoformat()}~{identifier}"


def decode_position(value: str | None) -> tuple[datetime | None, str] | None:
    """Return the position in a value of a URL; None if there is none, or it cannot be read."""
    at, _, identifier = (value or "").partition("~")
    if not identifier:
        return None
    with contextlib.suppress(TimeError):
        return parse_time(at) if at else None, identifier
    return None


def decode_log_position(value: str | None) -> tuple[datetime, UUID] | None:
    """Return the position of a notification or an action; None if there is none, or it cannot be read."""
    match decode_position(value):
        case (datetime() as at, identifier):
            with contextlib.suppress(ValueError):
                return at, UUID(identifier)
    return None
