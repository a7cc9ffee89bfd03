"""Compare every row with what the tenant's API lists, value by value.

Versions and digests are ignored: only the values of the columns count.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, text

from ampeco.api.client import Answer, Client
from ampeco.resources.kinds import KINDS
from storage.schema.entities import CHILDREN, MIRRORS
from storage.state.changes import ChangeSet
from storage.state.facts import (
    charge_point_facts,
    charging_zone_facts,
    entity_facts,
    evse_facts,
    read_fact_factory,
    session_facts,
)
from workers.sync.schedule import FLEET, NAMED_BY_SESSIONS

#: The kinds that the simulator lists, in the order in which they are synced.
SHOWN = tuple(dict.fromkeys((*FLEET, *NAMED_BY_SESSIONS, *(name for name, kind in KINDS.items() if kind.has_listing))))

#: Statuses, which have clocks of their own and so are not in a resource's facts.
_STATUSES = {"evse": ("hardware_status",), "charge_point": ("hardware_status", "network_status")}


def differences(connection: Connection, tenant: str, client: Client) -> tuple[int, list[str]]:
    """Compare every entity of the kinds in ``SHOWN``; return the number of entities, and the differences."""
    compared, differing = 0, []
    for kind in SHOWN:
        shown = {answer.resource.id: answer for answer in client.list(KINDS[kind])}
        mirror = MIRRORS[kind]
        statement = text(f"SELECT * FROM {mirror.rows()} AS kept WHERE deleted_at IS NULL")
        kept = {row[mirror.key]: row for row in connection.execute(statement, {"tenant": tenant}).mappings()}
        differing += [f"{kind} {key} is not stored" for key in sorted(shown.keys() - kept.keys())]
        differing += [f"{kind} {key} is stored, but not listed" for key in sorted(kept.keys() - shown.keys())]
        for entity_id in sorted(shown.keys() & kept.keys()):
            differing += _row(kind, kept[entity_id], shown[entity_id])
        compared += len(shown)
        if kind in CHILDREN:
            differing += _children(connection, tenant, kind, shown.values())
    return compared, differing


def _children(connection: Connection, tenant: str, kind: str, parents: Collection[Answer[Any]]) -> list[str]:
    """Return the differences of what is part of these: connectors, charging periods, charging zones."""
    child, changes = CHILDREN[kind], ChangeSet()
    mirror = MIRRORS[child]
    shown: dict[int, dict[str, Any]] = {}
    for answer in parents:
        if kind == "evse":
            parts = answer.resource.connectors
            evse_facts(changes, answer.resource, answer.raw, read_fact_factory(answer.tenant_time))
        elif kind == "location":
            parts = answer.resource.charging_zones
            make_fact = read_fact_factory(answer.tenant_time)
            charging_zone_facts(changes, answer.resource, make_fact, at=answer.tenant_time)
        else:
            parts = answer.resource.charging_periods
            session_facts(changes, answer.resource, answer.raw, read_fact_factory(answer.tenant_time))
        shown |= {part.id: {mirror.parent_key: answer.resource.id} for part in parts}
    for fact in changes.facts:
        if (fact.kind, fact.group) == (child, "master"):
            shown[fact.entity_id] |= fact.values
    statement = text(f"SELECT * FROM charging.{child} WHERE tenant = :tenant AND deleted_at IS NULL")
    kept = {row[mirror.key]: row for row in connection.execute(statement, {"tenant": tenant}).mappings()}
    differing = [f"{child} {key} is not stored" for key in sorted(shown.keys() - kept.keys())]
    differing += [f"{child} {key} is stored, but not listed" for key in sorted(kept.keys() - shown.keys())]
    for child_id in sorted(shown.keys() & kept.keys()):
        for column, value in shown[child_id].items():
            if (stored := kept[child_id][column]) != value:
                differing.append(f"{child} {child_id}: {column} is {stored!r}, but listed as {value!r}")
    return differing


def _row(kind: str, row: Any, answer: Answer[Any]) -> list[str]:
    expected: dict[str, Any] = {name: getattr(answer.resource, name) for name in _STATUSES.get(kind, ())}
    changes = ChangeSet()
    make_fact = read_fact_factory(answer.tenant_time)
    match kind:
        case "session":
            session_facts(changes, answer.resource, answer.raw, make_fact)
        case "evse":
            evse_facts(changes, answer.resource, answer.raw, make_fact)
        case "charge_point":
            charge_point_facts(changes, answer.resource, answer.raw, make_fact)
        case _:
            entity_facts(changes, kind, answer.resource, answer.raw, make_fact, at=answer.tenant_time)
    for fact in changes.facts:
        if (fact.kind, fact.entity_id) == (kind, answer.resource.id):
            expected |= fact.values
    # An EVSE's raw JSON contains its status too, from the time when the rest last changed.
    statuses = {"hardwareStatus", "networkStatus", "charging"} if kind in _STATUSES else set()
    differing = []
    for column, value in expected.items():
        stored = row[column]
        if column == "raw":
            value, stored = ({name: raw[name] for name in raw.keys() - statuses} for raw in (value, stored))
        if isinstance(value, tuple):
            value = list(value)
        if stored != value and (stored or value):
            differing.append(f"{kind} {answer.resource.id}: {column} is {stored!r}, but listed as {value!r}")
    return differing
