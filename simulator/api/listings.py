"""Listings with filters and pages, in AMPECO's form."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

import orjson

from simulator.api.problems import Problem

Row = TypeVar("Row")

MAX_PER_PAGE = 100

#: Digits of a number in a query at most; Python refuses to parse a number of thousands of digits.
MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Listing(Generic[Row]):
    """One listing of the API.

    Attributes:
        rows: returns the rows; deleted ones are left out, the others are listed in the order of ``key``.
        key: the part of a row that a cursor refers to.
        render: returns a row as JSON.
        filters: by name, functions from the filter's text to a test of a row.
        pages_by_number: whether it pages by number unless the query has a cursor.
        has_cursor: whether it can page by cursor; otherwise the parameter is ignored.
    """

    rows: Callable[[], Iterable[Row]]
    key: Callable[[Row], int]
    render: Callable[[Row], dict[str, Any]]
    filters: Mapping[str, Callable[[str], Callable[[Row], bool]]]
    pages_by_number: bool = False
    has_cursor: bool = True

    def answer(self, url: str, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return the page that a query requests.

        Raises:
            Problem: 422, a parameter is invalid.
        """
        parameters = dict(query)
        per_page = _positive_integer(parameters, "per_page", MAX_PER_PAGE, MAX_PER_PAGE)
        rows = sorted((row for row in self.rows() if not getattr(row, "is_deleted", False)), key=self.key)
        for tests in self._tests(query).values():
            # A filter with several values, such as `filter[vendorId][0]`, passes rows with any of them.
            rows = [row for row in rows if any(test(row) for test in tests)]
        link_query = [(name, text) for name, text in query if name not in ("cursor", "page")]
        if self.pages_by_number and ("cursor" not in parameters or not self.has_cursor):
            page = _positive_integer(parameters, "page", 1, 10**9)
            return self._numbered(url, link_query, rows, per_page, page)
        return self._from_cursor(url, link_query, rows, per_page, parameters.get("cursor", ""))

    def _tests(self, query: Sequence[tuple[str, str]]) -> dict[str, list[Callable[[Row], bool]]]:
        tests: dict[str, list[Callable[[Row], bool]]] = {}
        for name, text in query:
            if name.startswith("filter[") and name.endswith("]"):
                base = name[7:-1].partition("][")[0]
                known = self.filters.get(base)
                if known is None:
                    raise Problem(422, "The given data was invalid.", {name: ["The filter is not known here."]})
                tests.setdefault(base, []).append(_test(known, name, text))
        return tests

    def _from_cursor(
        self, url: str, query: list[tuple[str, str]], rows: list[Row], per_page: int, cursor: str
    ) -> dict[str, Any]:
        if cursor not in ("", "null"):
            after = _read_cursor(cursor)
            rows = [row for row in rows if self.key(row) > after]
        page, rest = rows[:per_page], rows[per_page:]
        following = _cursor(self.key(page[-1])) if rest else None
        return {
            "data": [self.render(row) for row in page],
            "links": {
                "first": None,
                "last": None,
                "prev": None,
                "next": _link(url, [*query, ("cursor", following)]) if following else None,
            },
            "meta": {"path": url, "per_page": per_page, "next_cursor": following, "prev_cursor": None},
        }

    def _numbered(
        self, url: str, query: list[tuple[str, str]], rows: list[Row], per_page: int, page: int
    ) -> dict[str, Any]:
        last = max(-(-len(rows) // per_page), 1)
        shown = rows[(page - 1) * per_page : page * per_page]
        first_shown = (page - 1) * per_page + 1

        def link(number: int) -> str | None:
            return _link(url, [*query, ("page", str(number))]) if 1 <= number <= last else None

        return {
            "data": [self.render(row) for row in shown],
            "links": {"first": link(1), "last": link(last), "prev": link(page - 1), "next": link(page + 1)},
            "meta": {
                "current_page": page,
                "from": first_shown if shown else None,
                "last_page": last,
                "links": [],
                "path": url,
                "per_page": per_page,
                "to": first_shown + len(shown) - 1 if shown else None,
                "total": len(rows),
            },
        }


def equals(value: Callable[[Row], Any]) -> Callable[[str], Callable[[Row], bool]]:
    """Return a filter for equality of a value; the text ``null`` matches rows without one."""
    return lambda text: lambda row: ("null" if (present := value(row)) is None else str(present)) == text


def since(value: Callable[[Row], datetime | None]) -> Callable[[str], Callable[[Row], bool]]:
    """Return a filter ``…After``, which includes the time itself."""

    def make(text: str) -> Callable[[Row], bool]:
        limit = to_instant(text)
        return lambda row: (at := value(row)) is not None and at >= limit

    return make


def before(value: Callable[[Row], datetime | None]) -> Callable[[str], Callable[[Row], bool]]:
    """Return a filter ``…Before``, which includes the time itself."""

    def make(text: str) -> Callable[[Row], bool]:
        limit = to_instant(text)
        return lambda row: (at := value(row)) is not None and at <= limit

    return make


def _test(make: Callable[[str], Callable[[Row], bool]], name: str, text: str) -> Callable[[Row], bool]:
    try:
        return make(text)
    except ValueError:
        raise Problem(422, "The given data was invalid.", {name: [f"{text} cannot be used."]}) from None


def to_instant(text: str) -> datetime:
    """Return a time or a date as a time with a zone; one without is UTC."""
    moment = datetime.fromisoformat(text.replace(" ", "+") if "+" not in text and "T" in text else text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _positive_integer(parameters: dict[str, str], name: str, default: int, limit: int) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > MAX_DIGITS or not 1 <= int(text) <= limit:
        raise Problem(422, "The given data was invalid.", {name: [f"The {name} must be between 1 and {limit}."]})
    return int(text)


def _cursor(key: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps({"after": key})).decode().rstrip("=")


def _read_cursor(cursor: str) -> int:
    try:
        return int(orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))["after"])
    except (binascii.Error, KeyError, TypeError, ValueError):
        raise Problem(422, "The given data was invalid.", {"cursor": ["The cursor is invalid."]}) from None


def _link(url: str, query: Sequence[tuple[str, str]]) -> str:
    return f"{url}?{urlencode(query)}"
