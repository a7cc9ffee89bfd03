"""What is to be derived again: entities, each with the time from which on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from storage.documents import to_json

#: Entities by id, each with the time from which on it is derived again; None: as a whole.
Scope = dict[int, datetime | None]


class Reach(NamedTuple):
    """From when to when, both inclusive, changed rows belong to an entity."""

    since: datetime
    until: datetime


#: Most changes concern the last days. One that happened longer ago is rare, and costs more: weeks or years of an EVSE's
#: states are derived again.
LONG_AGO = timedelta(days=7)

#: As how many entities an EVSE counts that is derived from longer ago: that may take years of its states.
HISTORY_WEIGHT = 40


def widen(scope: Scope, entity_id: int, since: datetime | None) -> None:
    """Add an entity to a scope; of several times the earliest counts, and None is before all of them."""
    if entity_id in scope:
        known = scope[entity_id]
        since = None if known is None or since is None else min(known, since)
    scope[entity_id] = since


def merged(*scopes: Mapping[int, datetime | None]) -> Scope:
    """Return the scope that contains all of some scopes."""
    result: Scope = {}
    for scope in scopes:
        for entity_id, since in scope.items():
            widen(result, entity_id, since)
    return result


def whole(entity_ids: Iterable[int]) -> Scope:
    """Return the scope of entities that are derived as a whole."""
    return dict.fromkeys(entity_ids)


def scope_json(scope: Mapping[int, datetime | None]) -> str:
    """Return a scope as the parameter of :func:`scope_sql`."""
    return to_json([{"entity_id": entity_id, "since": since} for entity_id, since in scope.items()])


def scope_sql(parameter: str = "scope") -> str:
    """Return the table in SQL, named ``scope``, of a scope that :func:`scope_json` made a parameter."""
    return f"json_to_recordset(CAST(:{parameter} AS json)) AS scope (entity_id bigint, since timestamptz)"


def parts(entity_ids: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yield the ids in parts of at most a size."""
    for first in range(0, len(entity_ids), size):
        yield list(entity_ids[first : first + size])


def history_weight(since: datetime | None, now: datetime) -> int:
    """Return as how many entities an EVSE counts that is derived from a time on; None is before all times."""
    return HISTORY_WEIGHT if since is None or now - since > LONG_AGO else 1


def portion(weights: Iterable[int], limit: int) -> int:
    """Return how many things can be taken, in their order, before their total weight exceeds a limit.

    The first thing is always taken, even if it alone is too heavy: otherwise it would never be.

    Parameters:
        weights: the weight of each thing.
        limit: the greatest total weight.
    """
    count = total = 0
    for weight in weights:
        total += weight
        if count and total > limit:
            break
        count += 1
    return count
