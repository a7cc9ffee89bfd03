"""A listing, page after page.

AMPECO's listings go by cursor, and it advises to follow ``links.next`` (AMPECO API, pagination).
Of that address only the query is taken, for a call to the listing's own path: the token never
leaves for another host, and a link that forgot our filters keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Generic
from urllib.parse import parse_qsl

from ampeco import errors
from ampeco.answers import Answer, M, read_answer, unwrapped
from ampeco.transport import Exchange

Params = list[tuple[str, str]]


class Listing(Generic[M]):
    """An iterator over every resource of a listing.

    It fetches a page when it is needed. Where a fetch raises, as at a rate limit, the
    iterator stays where it was, so that after a pause ``next`` goes on with that very page:
    a listing longer than a tenant's quota still comes to its end.

    A resource that cannot be read does not hide those after it: all others are yielded
    first, then ``Malformed`` is raised, once.
    """

    def __init__(self, fetch: Callable[[Params], Exchange], model: type[M], query: Params) -> None:
        self._fetch = fetch
        self._model = model
        self._first_query = query
        self._query: Params | None = query
        self._fetched: set[frozenset[tuple[str, str]]] = set()
        self._page: Iterator[Answer[M]] = iter(())
        self._unreadable: list[errors.Malformed] = []

    def __iter__(self) -> Iterator[Answer[M]]:
        return self

    def __next__(self) -> Answer[M]:
        while (answer := next(self._page, None)) is None:
            if self._query is None:
                self._end()
            else:
                self._turn_to(self._query)
        return answer

    def _turn_to(self, query: Params) -> None:
        exchange = self._fetch(query)
        items = unwrapped(exchange.body)
        if not isinstance(items, list):
            raise errors.Malformed(*exchange.call, "a listing without a list of resources")
        self._fetched.add(frozenset(query))
        following = _next_query(self._first_query, exchange.body)
        if following is not None and frozenset(following) in self._fetched:
            raise errors.Malformed(*exchange.call, "the listing leads back to a page that it already gave")
        self._query = following
        self._page = self._readable(items, exchange)

    def _readable(self, items: list[Any], exchange: Exchange) -> Iterator[Answer[M]]:
        for item in items:
            try:
                yield read_answer(self._model, item, exchange)
            except errors.Malformed as error:
                self._unreadable.append(error)

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
        given = parse_qsl(link.partition("?")[2], keep_blank_values=True) if isinstance(link, str) else []
    else:
        # The documentation's prose names the key `cursor`, its schema `next_cursor`.
        cursor = (meta.get("next_cursor") or meta.get("cursor")) if isinstance(meta, dict) else None
        given = [("cursor", str(cursor))] if cursor else []
    if not given:
        return None
    names = {_plain(name) for name, _ in given} | {"cursor"}
    return [*((name, value) for name, value in first_query if _plain(name) not in names), *given]


def _plain(name: str) -> str:
    """Return a parameter's name without a list index: ``include[]`` may come back as ``include[0]``."""
    return re.sub(r"\[[0-9]*\]$", "", name)
