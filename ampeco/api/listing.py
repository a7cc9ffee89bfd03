"""Read a listing page by page.

AMPECO's listings are paged by cursor, and it recommends to follow ``links.next`` (AMPECO API,
pagination). Only the query of that address is used, for a call to the listing's own path: the token
is never sent to another host, and filters that are missing from the link are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic
from urllib.parse import parse_qsl

from ampeco import errors
from ampeco.api.answers import Answer, M, read_answer, unwrapped
from ampeco.api.transport import Exchange

Params = list[tuple[str, str]]

#: The number of empty pages in a row at which a listing counts as endless.
MAX_EMPTY_PAGES = 10


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """One page of a listing.

    ``following`` is the query of the next page, or None after the last. A sync run may store it and
    continue later. ``unreadable`` has an error for each resource that is not among ``answers``.
    ``tenant_time`` is the tenant's clock when the read began.
    """

    answers: tuple[Answer[M], ...]
    unreadable: tuple[errors.Malformed, ...]
    following: Params | None
    tenant_time: datetime


def read_page(exchange: Exchange, model: type[M], first_query: Params) -> Page[M]:
    """Parse a page of a listing; ``first_query`` is the query of the first page.

    Raises:
        Malformed: the body is not a page of a listing.
    """
    items = unwrapped(exchange.body)
    if not isinstance(items, list):
        raise errors.Malformed(*exchange.call, "a listing without a list of resources")
    answers, unreadable = [], []
    for item in items:
        try:
            answers.append(read_answer(model, item, exchange))
        except errors.Malformed as error:
            unreadable.append(error)
    following = _next_query(first_query, exchange.body)
    return Page(tuple(answers), tuple(unreadable), following, exchange.tenant_time)


class Listing(Generic[M]):
    """An iterator over every resource of a listing.

    It fetches a page when it is needed. If a fetch raises, such as at the rate limit, the iterator
    keeps its position, and ``next`` fetches the same page after a pause. So a listing that is longer
    than a tenant's rate limit still completes.

    A resource that cannot be parsed does not hide those after it: all others are yielded first,
    then ``Malformed`` is raised once.
    """

    def __init__(self, fetch: Callable[[Params], Exchange], model: type[M], query: Params) -> None:
        self._fetch = fetch
        self._model = model
        self._first_query = query
        self._query: Params | None = query
        self._fetched: set[frozenset[tuple[str, str]]] = set()
        self._empty_pages = 0
        self._answers: Iterator[Answer[M]] = iter(())
        self._unreadable: list[errors.Malformed] = []

    def __iter__(self) -> Iterator[Answer[M]]:
        return self

    def __next__(self) -> Answer[M]:
        while (answer := next(self._answers, None)) is None:
            if self._query is None:
                self._end()
            else:
                self._fetch_page(self._query)
        return answer

    def _fetch_page(self, query: Params) -> None:
        exchange = self._fetch(query)
        page = read_page(exchange, self._model, self._first_query)
        self._fetched.add(frozenset(query))
        if page.following is not None and frozenset(page.following) in self._fetched:
            raise errors.Malformed(*exchange.call, "the listing leads back to a page that it already gave")
        self._empty_pages = 0 if page.answers else self._empty_pages + 1
        if page.following is not None and self._empty_pages >= MAX_EMPTY_PAGES:
            raise errors.Malformed(*exchange.call, f"{self._empty_pages} empty pages, and no end of the listing")
        self._query = page.following
        self._unreadable += page.unreadable
        self._answers = iter(page.answers)

    def _end(self) -> None:
        unreadable, self._unreadable = self._unreadable, []
        if not unreadable:
            raise StopIteration
        first = unreadable[0]
        reason = f"{len(unreadable)} of the listed resources cannot be read, the first: {first.reason}"
        raise errors.Malformed(first.method, first.path, first.status, reason)


def _next_query(first_query: Params, body: Any) -> Params | None:
    """Return the query of the next page, or None after the last."""
    if not isinstance(body, dict):
        return None
    links, meta = body.get("links"), body.get("meta")
    if isinstance(links, dict) and "next" in links:
        link = links["next"]
        changes = parse_qsl(link.partition("?")[2], keep_blank_values=True) if isinstance(link, str) else []
    else:
        # The documentation's prose names the key `cursor`, its schema `next_cursor`.
        cursor = (meta.get("next_cursor") or meta.get("cursor")) if isinstance(meta, dict) else None
        changes = [("cursor", str(cursor))] if cursor else []
    if not changes:
        return None
    names = {_plain(name) for name, _ in changes} | {"cursor"}
    return [*((name, value) for name, value in first_query if _plain(name) not in names), *changes]


def _plain(name: str) -> str:
    """Return a parameter's name without a list index: ``include[]`` may come back as ``include[0]``."""
    return re.sub(r"\[[0-9]*\]$", "", name)
