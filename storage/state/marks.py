"""Mark the entities that a transaction changes, so that what is derived from them is derived again.

A mark is written in the transaction of the change. Marks are only added, so that writers never wait for each other or
for the derivation; several marks of one entity cost one derivation.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, text

from storage.documents import to_json
from storage.schema.entities import MIRRORS
from storage.state.changes import ChangeSet, Entity
from storage.state.fold import BEGINNING, Fact
from storage.state.upsert import Written

#: The kinds from which rows are derived.
MARKED = frozenset(
    {
        *("location", "charge_point", "evse", "tariff", "charge_point_model", "charge_point_vendor"),
        *("evse_downtime_period", "charge_point_downtime_period", "downtime_period_notice"),
        *("session", "authorization", "cdr", "connector", "tariff_snapshot"),
    }
)

#: Children that are derived with their parents, which are marked instead: of one that moves, both parents.
WITH_PARENTS = frozenset({"charging_period"})

#: What an operator enters here is marked by itself; it is derived with the EVSEs that it covers.
OPERATOR_EXCLUSION = "operator_exclusion"

#: Statuses come much more often than master data, and less is derived from them: they are marked by themselves.
STATUS = "_status"
STATUS_KINDS = frozenset({"charge_point", "evse"})
_STATUS_GROUPS = frozenset({"hardware", "hardware_log", "network", "network_log"})

_MARK = text("""
INSERT INTO analytics.dirty (tenant, kind, entity_id, changed_since)
SELECT :tenant, kind, entity_id, changed_since
  FROM json_populate_recordset(NULL::analytics.dirty, CAST(:marks AS json))
""")


def mark_all(connection: Connection, tenant: str) -> int:
    """Mark everything of a tenant, so that it is derived again; return the number of marks."""
    return sum(connection.execute(text(_mark_all(kind)), {"tenant": tenant}).rowcount for kind in sorted(MARKED))


def _mark_all(kind: str) -> str:
    # What a rebuild no longer finds is in the derived table alone.
    sources = [f"charging.{kind}", *([f"analytics.{kind}"] if kind in _DERIVED else [])]
    every = " UNION ".join(f"SELECT {kind}_id FROM {source} WHERE tenant = :tenant" for source in sources)  # noqa: S608 - the names are ours
    return f"""
INSERT INTO analytics.dirty (tenant, kind, entity_id)
SELECT :tenant, '{kind}', every.{kind}_id
  FROM ({every}) AS every
{_ORDERS.get(kind, "")}"""  # noqa: S608 - the names are ours


#: A session changes the days of its EVSE from its start on. So the sessions of an EVSE are derived together: in the
#: order of their ids, each round would derive the days of nearly all EVSEs again.
_ORDERS = {
    "session": """
  LEFT JOIN charging.session AS placed
    ON placed.tenant = :tenant
   AND placed.session_id = every.session_id
 ORDER BY placed.evse_id, every.session_id
"""
}


#: The kinds that have a derived table of their name.
_DERIVED = frozenset({"location", "charge_point", "evse", "tariff", "session"})


def marks_of(changes: ChangeSet, written: Written, observed: Mapping[Entity, datetime]) -> dict[Entity, datetime]:
    """Return the entities that a change set changed, each with the time from which on it did.

    Parameters:
        changes: the change set.
        written: what was written of it.
        observed: the entities of which observations were added, with the time of the earliest one.
    """
    marks = dict(observed)
    changed = {entity for entity in written.changed if entity.kind in MARKED | WITH_PARENTS}
    new = set(written.new)
    for fact in changes.facts if changed else ():
        entity = Entity(fact.kind, fact.entity_id)
        parents = written.parents.get(entity, set()) if fact.kind in WITH_PARENTS else set()
        # Each status names the charge point of its EVSE again; if it is another one, the mark of the status suffices.
        if fact.at <= BEGINNING and entity not in new and len(parents) <= 1:
            continue
        if fact.kind in WITH_PARENTS:
            for parent_id in parents:
                add_mark(marks, Entity(str(MIRRORS[fact.kind].parent), parent_id), fact.at)
        elif entity in changed:
            is_status = fact.kind in STATUS_KINDS and fact.group in _STATUS_GROUPS
            add_mark(marks, Entity(f"{fact.kind}{STATUS}", fact.entity_id) if is_status else entity, _since(fact))
    return marks


def _since(fact: Fact) -> datetime:
    """Return since when a fact changes what is derived: a tombstone has its own time."""
    gone_at = fact.values.get("deleted_at")
    return fact.at if gone_at is None else min(fact.at, gone_at)


def add_mark(marks: dict[Entity, datetime], entity: Entity, since: datetime) -> None:
    """Mark an entity as changed from a time on; of several times the earliest counts."""
    marks[entity] = min(since, marks.get(entity, since))


def mark(connection: Connection, tenant: str, marks: Mapping[Entity, datetime | None]) -> None:
    """Write marks.

    Parameters:
        marks: since when each entity has changed; None for everything about it.
    """
    rows = [
        {"kind": entity.kind, "entity_id": entity.entity_id, "changed_since": since}
        for entity, since in marks.items()
        if entity.kind.removesuffix(STATUS) in MARKED or entity.kind == OPERATOR_EXCLUSION
    ]
    if rows:
        connection.execute(_MARK, {"tenant": tenant, "marks": to_json(rows)})
