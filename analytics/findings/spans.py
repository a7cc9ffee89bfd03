"""The times of entities for which findings are evaluated again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import RowMapping

from analytics.scope import Scope
from storage.documents import to_json


class Span(NamedTuple):
    """A time of an entity; None: without a bound."""

    since: datetime | None
    until: datetime | None


#: Entities, each with the time of which findings are derived again.
Spans = dict[int, Span]

WHOLE = Span(None, None)

#: The table in SQL of the spans of EVSEs; its parameter comes from :func:`spans_json`.
SPANS = "json_to_recordset(CAST(:spans AS json)) AS span (evse_id bigint, since timestamptz, until timestamptz)"


def whole_spans(*scopes: Mapping[int, Any]) -> Spans:
    """Return the entities of some scopes, each as a whole."""
    return {entity_id: WHOLE for scope in scopes for entity_id in scope}


def spans_from(scope: Scope) -> Spans:
    """Return the entities of a scope, each from its time on."""
    return {entity_id: Span(since, None) for entity_id, since in scope.items()}


def spans_of_rows(rows: Iterable[RowMapping]) -> Spans:
    """Return the spans of rows with ``evse_id``, ``since`` and ``until``."""
    return joined(*({row["evse_id"]: Span(row["since"], row["until"])} for row in rows))


def joined(*spans: Spans) -> Spans:
    """Return for each entity the span that contains all of its spans."""
    result: Spans = {}
    for some in spans:
        for entity_id, span in some.items():
            known = result.get(entity_id, span)
            result[entity_id] = Span(
                None if known.since is None or span.since is None else min(known.since, span.since),
                None if known.until is None or span.until is None else max(known.until, span.until),
            )
    return result


def spans_json(spans: Spans) -> str:
    """Return spans of EVSEs as the parameter of :data:`SPANS`."""
    return to_json([{"evse_id": evse_id, "since": span.since, "until": span.until} for evse_id, span in spans.items()])
