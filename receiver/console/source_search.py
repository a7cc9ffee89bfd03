"""Find in the log the notification whose fact a column group holds, if history does not name it.

The log has the search columns alone as a hint; so the notifications that name the entity are parsed as they were when
they were applied, and their facts are compared with the stored one. The search is bounded, so it may find nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from storage.inbox.batches import LoggedBody
from storage.log.of_entity import bodies_naming
from storage.log.scope import SEARCH_COLUMNS
from storage.reports.provenance import GroupState, Provenance
from storage.state.version import Version
from workers.apply.apply import parse_all

#: How many notifications of the tenant, and how many of the entity, one search reads.
MAX_SCANNED = 5_000
MAX_PARSED = 200

#: How long before the time of its fact a notification may have been received, by our clock.
CLOCK_DIFFERENCE = timedelta(minutes=5)

_FactKey = tuple[str, datetime, Version]


def find_sources(connection: Connection, tenant: str, entity: Provenance) -> Mapping[str, UUID]:
    """Return the notifications that set the column groups which history does not explain, as far as they are found."""
    sought = {
        (group.group.name, group.at, group.version): group
        for group in entity.groups
        if group.needs_notification and group.at is not None
    }
    found: dict[_FactKey, UUID] = {}
    if entity.kind not in SEARCH_COLUMNS:
        return {}
    for key, group in sought.items():
        for logged in _searches(connection, tenant, entity, group):
            if key in found:
                break
            found |= _facts(entity, logged)
    return {name: found[name, at, version] for name, at, version in sought if (name, at, version) in found}


def _searches(
    connection: Connection, tenant: str, entity: Provenance, group: GroupState
) -> Iterator[Iterable[LoggedBody]]:
    """Yield notifications that may have set a column group: none, those after its time, those before its row changed.

    Mostly a notification follows its fact within seconds. If a clock is wrong, or the service was behind, only the time
    at which the row changed is near.
    """
    yield ()  # a search for another group may have found it
    searches = [(entity.first_seen_at - timedelta(days=1), entity.updated_at, True)]
    if group.at is not None and group.has_own_time:
        searches.insert(0, (group.at - CLOCK_DIFFERENCE, group.at + timedelta(days=1), False))
    for since, until, latest_first in searches:
        yield bodies_naming(
            connection,
            tenant,
            entity.kind,
            entity.entity_id,
            since,
            until,
            latest_first=latest_first,
            max_scanned=MAX_SCANNED,
            limit=MAX_PARSED,
        )


def _facts(entity: Provenance, logged: Iterable[LoggedBody]) -> dict[_FactKey, UUID]:
    """Return the facts about the entity in notifications, each with the first notification that contains it."""
    facts: dict[_FactKey, UUID] = {}
    for notification in sorted(logged, key=lambda each: each.received_at):
        for fact in parse_all([notification]).changes.facts:
            if (fact.kind, fact.entity_id) == (entity.kind, entity.entity_id):
                facts.setdefault((fact.group, fact.at, fact.version), notification.notification_id)
    return facts
