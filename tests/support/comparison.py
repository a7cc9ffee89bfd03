"""Compare every row with what the tenant's API shows, past everything that decides what is newer.

Neither a version nor a digest is looked at: what stands in the columns is compared with what
is listed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, text

from ampeco.client import Answer, Client
from ampeco.kinds import KINDS
from storage.changes import ChangeSet
from storage.facts import charge_point_facts, entity_facts, evse_facts, read_fact_factory, session_facts
from storage.mirrors import CHILDREN, MIRRORS

#: What the simulator lists.
SHOWN = (
    "location",
    "charge_point",
    "evse",
    "session",
    "authorization",
    "transaction",
    "reservation",
    "tariff",
    "user",
    "id_tag",
    "partner",
)

#: Statuses have clocks of their own, and so no part in a resource's facts.
_STATUSES = {"evse": ("hardware_status",), "charge_point": ("hardware_status", "network_status")}


def differences(connection: Connection, tenant: str, client: Client) -> tuple[int, list[str]]:
    """Compare every entity of the kinds in ``SHOWN``; returns how many, and what differs."""
    compared, found = 0, []
    for kind in SHOWN:
        shown = {answer.resource.id: answer for answer in client.list(KINDS[kind])}
        mirror = MIRRORS[kind]
        statement = text(f"SELECT * FROM {mirror.rows()} AS kept WHERE deleted_at IS NULL")
        kept = {row[mirror.key]: row for row in connection.execute(statement, {"tenant": tenant}).mappings()}
        found += [f"{kind} {one} is not known" for one in sorted(shown.keys() - kept.keys())]
        found += [f"{kind} {one} is known, and not shown" for one in sorted(kept.keys() - shown.keys())]
        for entity_id in sorted(shown.keys() & kept.keys()):
            found += _row(kind, kept[entity_id], shown[entity_id])
        compared += len(shown)
        if kind in CHILDREN:
            found += _children(connection, tenant, kind, shown.values())
    return compared, found


def _children(connection: Connection, tenant: str, kind: str, parents: Collection[Answer[Any]]) -> list[str]:
    """What differs of the connectors of EVSEs, or the charging periods of sessions: those that are listed are there."""
    child, said = CHILDREN[kind], ChangeSet()
    mirror = MIRRORS[child]
    shown: dict[int, dict[str, Any]] = {}
    for answer in parents:
        if kind == "evse":
            parts = answer.resource.connectors
            evse_facts(said, answer.resource, answer.raw, read_fact_factory(answer.tenant_time))
        else:
            parts = answer.resource.charging_periods
            session_facts(said, answer.resource, answer.raw, read_fact_factory(answer.tenant_time))
        shown |= {one.id: {mirror.parent_key: answer.resource.id} for one in parts}
    for fact in said.facts:
        if (fact.kind, fact.group) == (child, "master"):
            shown[fact.entity_id] |= fact.values
    statement = text(f"SELECT * FROM charging.{child} WHERE tenant = :tenant AND deleted_at IS NULL")
    kept = {row[mirror.key]: row for row in connection.execute(statement, {"tenant": tenant}).mappings()}
    found = [f"{child} {one} is not known" for one in sorted(shown.keys() - kept.keys())]
    found += [f"{child} {one} is known, and not shown" for one in sorted(kept.keys() - shown.keys())]
    for child_id in sorted(shown.keys() & kept.keys()):
        for column, value in shown[child_id].items():
            if (stored := kept[child_id][column]) != value:
                found.append(f"{child} {child_id}: {column} is {stored!r}, and shown as {value!r}")
    return found


def _row(kind: str, row: Any, answer: Answer[Any]) -> list[str]:
    expected: dict[str, Any] = {name: getattr(answer.resource, name) for name in _STATUSES.get(kind, ())}
    said = ChangeSet()
    tell = read_fact_factory(answer.tenant_time)
    match kind:
        case "session":
            session_facts(said, answer.resource, answer.raw, tell)
        case "evse":
            evse_facts(said, answer.resource, answer.raw, tell)
        case "charge_point":
            charge_point_facts(said, answer.resource, answer.raw, tell)
        case _:
            entity_facts(said, kind, answer.resource, answer.raw, tell, at=answer.tenant_time)
    for fact in said.facts:
        if (fact.kind, fact.entity_id) == (kind, answer.resource.id):
            expected |= fact.values
    # An EVSE's status is in its raw JSON, too, as it was when the rest last changed.
    moving = {"hardwareStatus", "networkStatus", "charging"} if kind in _STATUSES else set()
    found = []
    for column, value in expected.items():
        stored = row[column]
        if column == "raw":
            value, stored = ({name: one[name] for name in one.keys() - moving} for one in (value, stored))
        if isinstance(value, tuple):
            value = list(value)
        if stored != value and (stored or value):
            found.append(f"{kind} {answer.resource.id}: {column} is {stored!r}, and shown as {value!r}")
    return found
