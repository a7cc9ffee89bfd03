"""Read the filters of a page from its URL or a form: what cannot be read is left out, and said."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ampeco.values import MAX_BIGINT
from receiver.console.months import Month
from receiver.times import TimeError, parse_time
from storage.ids import made_at

_Choice = TypeVar("_Choice", bound=str)
_Meaning = TypeVar("_Meaning")


class Query:
    """The query of a URL or the fields of a form, and what was wrong with it.

    Parameters:
        values: the values by name.
        labels: what a page calls the filters; one that is missing is called by its name.

    Attributes:
        given: the names and values that were understood.
        problems: a sentence for each value that could not be read.
    """

    def __init__(self, values: Mapping[str, object], labels: Mapping[str, str] | None = None) -> None:
        self._values = values
        self._labels = labels or {}
        self.given: dict[str, str] = {}
        self.problems: list[str] = []

    def choice(self, name: str, choices: Collection[_Choice]) -> _Choice | None:
        """Return one of some words; None without one."""

        def parse(value: str) -> _Choice | None:
            return next((word for word in choices if word == value), None)

        return self._read(name, f"one of {', '.join(choices)}", parse)

    def text(self, name: str, *, longest: int = 200, is_cut: bool = True) -> str | None:
        """Return a text that a person searches for; None without one.

        Parameters:
            longest: the most characters; a longer text is no filter that a person types.
            is_cut: whether a text that is too long is cut, and NUL removed. If not, such a text is left out, because
                something is done to what the filter selects.
        """
        if is_cut:
            text = self._value(name).replace("\0", "")[:longest].strip()
            if text:
                self.given[name] = text
            return text or None

        def parse(value: str) -> str | None:
            return value if len(value) <= longest and "\0" not in value else None

        return self._read(name, f"a text of at most {longest} characters without NUL", parse)

    def identifier(self, name: str) -> int | None:
        """Return an id at AMPECO; None without one."""
        return self._read(name, "an id, which is a whole number", parse_id)

    def uuid(self, name: str) -> UUID | None:
        """Return an id that this service made; None without one."""

        def parse(value: str) -> UUID:
            identifier = UUID(value)
            made_at(identifier)  # fails if the id holds a time that does not exist
            return identifier

        return self._read(name, "an id such as 019c0000-0000-7000-8000-000000000000", parse)

    def number(self, name: str, greatest: int) -> Decimal | None:
        """Return a number that is not negative; None without one."""

        def parse(value: str) -> Decimal | None:
            number = Decimal(value)
            return number if number.is_finite() and 0 <= number <= greatest else None

        return self._read(name, f"a number between 0 and {greatest:,}", parse)

    def moment(self, name: str) -> datetime | None:
        """Return a time in UTC; None without one."""
        return self._read(name, "a time such as 2026-03-01T12:30", parse_time)

    def month(self, name: str) -> Month | None:
        """Return a calendar month; None without one."""
        return self._read(name, "a month such as 2026-03", Month.parse)

    def day(self, name: str, *, after: int = 0) -> datetime | None:
        """Return when a day begins in UTC, or one that is some days after it; None without one."""

        def parse(value: str) -> datetime:
            day = date.fromisoformat(value) + timedelta(days=after)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)

        return self._read(name, "a day such as 2026-03-04", parse)

    def _value(self, name: str) -> str:
        return str(self._values.get(name) or "").strip()

    def _read(self, name: str, expected: str, parse: Callable[[str], _Meaning | None]) -> _Meaning | None:
        """Return what a value means; None if there is none, or ``parse`` fails or returns None."""
        value = self._value(name)
        if not value:
            return None
        with contextlib.suppress(ValueError, ArithmeticError):
            meaning = parse(value)
            if meaning is not None:
                self.given[name] = value
                return meaning
        label = self._labels.get(name, name)
        self.problems.append(f"The filter “{label}” is left out, because its value is not {expected}.")
        return None


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
