"""Change sets from the answers of AMPECO's API, and the further reads that some answers require."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from ampeco.api.client import Answer, Client, Filter
from ampeco.errors import Malformed
from ampeco.resources.charging import ChargePoint, Evse, Location, Session
from ampeco.resources.kind import Kind
from ampeco.resources.kinds import KINDS
from ampeco.tenants import Tenant
from storage.schema.entities import CHILDREN
from storage.state.changes import ChangeSet, Listed
from storage.state.clocks import bounded
from storage.state.facts import (
    boot_values,
    charge_point_facts,
    charging_zone_facts,
    entity_facts,
    evse_facts,
    presence,
    read_fact_factory,
    session_facts,
)
from storage.state.fold import Fact, fact_from_read
from storage.state.stored import StoredEntity, snapshot_group
from workers.sync.statuses import (
    CHARGE_POINT_HARDWARE,
    CHARGE_POINT_NETWORK,
    EVSE_HARDWARE,
    LogReads,
    shown,
    status_facts,
)


class EntityRead(NamedTuple):
    """One entity that is read.

    Attributes:
        entity_id: its id at AMPECO.
        stored: the stored entity.
        logs: the reads of status logs; all entities of a page share them.
    """

    entity_id: int
    stored: StoredEntity
    logs: LogReads


def listing_filters(kind: Kind[Any], tenant: Tenant) -> dict[str, Filter]:
    """Return the filters of every listing of a kind: without the tenant's setting, roaming partners are left out."""
    return {"roaming": False} if kind.has_roaming_filter and not tenant.roaming else {}


def changes_from_answer(kind: str, client: Client, answer: Answer[Any], read: EntityRead) -> ChangeSet:
    """Return the changes of a read of an entity; for doubtful statuses, further calls are made."""
    changes = ChangeSet()
    changes.facts.append(presence(kind, read.entity_id, began_at=answer.tenant_time, gone=False))
    changes.unknown_fields.see_fields(answer.resource, answer.tenant_time)
    _SPECIAL_KINDS.get(kind, partial(_entity, kind))(changes, client, answer, read)
    began_at = answer.tenant_time
    changes.facts = bounded([_keep_time(kind, fact, read, began_at) for fact in changes.facts], began_at)
    return changes


def changes_from_absence(kind: str, entity_id: int, began_at: datetime) -> ChangeSet:
    """Return the changes of a read that does not find the entity: the entity and all its children are gone."""
    changes = ChangeSet()
    changes.facts.append(presence(kind, entity_id, began_at=began_at, gone=True))
    changes.listed.append(Listed(kind, entity_id, frozenset(), began_at))
    return changes


def read_entity(kind: str, client: Client, read: EntityRead) -> ChangeSet:
    """Read one entity, and make the further reads that it requires.

    Raises:
        NotFound: the entity does not exist.
        ValueError: the answer describes another entity.
    """
    answer: Answer[Any] = client.read(KINDS[kind], read.entity_id)
    if answer.resource.id != read.entity_id:
        raise ValueError(f"the answer is about {kind} {answer.resource.id}")
    return changes_from_answer(kind, client, answer, read)


def look_up(kind: str, client: Client, reference: str) -> ChangeSet:
    """Look entities up in their listing by a reference; there may be several, or none yet."""
    changes = ChangeSet()
    name = KINDS[kind].reference_filter
    assert name is not None, f"{kind} is not known by a reference"
    try:
        for answer in client.list(KINDS[kind], **{name: reference}):
            read = EntityRead(answer.resource.id, StoredEntity(kind, {}), LogReads())
            changes.add(changes_from_answer(kind, client, answer, read))
    except Malformed:
        if not changes.facts:  # an entity that cannot be read must not hide those that can
            raise
    return changes


def _entity(kind: str, changes: ChangeSet, _client: Client, answer: Answer[Any], _read: EntityRead) -> None:
    began_at = answer.tenant_time
    entity_facts(changes, kind, answer.resource, answer.raw, read_fact_factory(began_at), at=began_at)


def _keep_time(kind: str, fact: Fact, read: EntityRead, began_at: datetime) -> Fact:
    """Date an entity without a time of its own by the first read that showed its current values."""
    group = snapshot_group(kind)
    if (fact.kind, fact.entity_id, fact.group) != (kind, read.entity_id, group):
        return fact
    version = read.stored.version(group)
    is_unchanged = version.is_read and version.has_values_of(fact.version)
    return replace(fact, at=read.stored[f"{group}_at"]) if is_unchanged and fact.at == began_at else fact


def _session(changes: ChangeSet, _client: Client, answer: Answer[Session], read: EntityRead) -> None:
    """Add a session with its charging periods and its authorization."""
    session = answer.resource
    session_facts(changes, session, answer.raw, read_fact_factory(answer.tenant_time))
    if session.charging_periods is not None:
        ids = [period.id for period in session.charging_periods]
        is_complete = session.was_read("charging_periods")
        _children(changes, "session", session.id, ids, answer.tenant_time, is_complete=is_complete)


def _location(changes: ChangeSet, client: Client, answer: Answer[Location], read: EntityRead) -> None:
    """Add a location with its charging zones."""
    location, began_at = answer.resource, answer.tenant_time
    _entity("location", changes, client, answer, read)
    charging_zone_facts(changes, location, read_fact_factory(began_at), at=began_at)
    if location.charging_zones is not None:
        ids = [zone.id for zone in location.charging_zones]
        is_complete = location.was_read("charging_zones")
        _children(changes, "location", location.id, ids, began_at, is_complete=is_complete)


def _evse(changes: ChangeSet, client: Client, answer: Answer[Evse], read: EntityRead) -> None:
    """Add an EVSE with its connectors; make one more call for its status if it differs from the stored one."""
    evse, began_at = answer.resource, answer.tenant_time
    evse_facts(changes, evse, answer.raw, read_fact_factory(began_at), at=began_at)
    if evse.connectors is not None:
        ids = [connector.id for connector in evse.connectors]
        _children(changes, "evse", evse.id, ids, began_at, is_complete=evse.was_read("connectors"))
    if evse.was_read("hardware_status"):
        hardware = shown(evse.hardware_status, evse.last_hardware_status_update_at, began_at)
        status_facts(changes, EVSE_HARDWARE, client, read.entity_id, read.stored, read.logs, hardware)


def _charge_point(changes: ChangeSet, client: Client, answer: Answer[ChargePoint], read: EntityRead) -> None:
    """Add a charge point; make one more call for each of its two statuses that differs from the stored one."""
    charge_point, began_at = answer.resource, answer.tenant_time
    charge_point_facts(changes, charge_point, answer.raw, read_fact_factory(began_at), at=began_at)
    boot = charge_point.last_boot_notification
    if boot is not None and boot.last_updated_at is not None:
        values = boot_values(boot)
        changes.facts.append(
            fact_from_read("charge_point", read.entity_id, "boot", boot.last_updated_at, values, began_at=began_at)
        )
    if charge_point.was_read("network_status"):
        network = shown(charge_point.network_status, charge_point.last_network_status_update_at, began_at)
        status_facts(changes, CHARGE_POINT_NETWORK, client, read.entity_id, read.stored, read.logs, network)
    if charge_point.was_read("hardware_status"):
        hardware = shown(
            charge_point.hardware_status,
            charge_point.last_hardware_status_update_at,
            began_at,
            charge_point.vendor_error_code,
        )
        status_facts(changes, CHARGE_POINT_HARDWARE, client, read.entity_id, read.stored, read.logs, hardware)


#: The kinds whose answer describes more than one entity, or requires more than one read.
_SPECIAL_KINDS: dict[str, Callable[[ChangeSet, Client, Answer[Any], EntityRead], None]] = {
    "session": _session,
    "location": _location,
    "evse": _evse,
    "charge_point": _charge_point,
}


def _children(
    changes: ChangeSet, kind: str, parent_id: int, ids: list[int], began_at: datetime, *, is_complete: bool
) -> None:
    """Record the children that a parent lists as present; the others get their tombstones when the read is written.

    If a part of the list cannot be read, it may be any of the stored children, so none of them counts as gone.
    """
    if is_complete:
        changes.listed.append(Listed(kind, parent_id, frozenset(ids), began_at))
    for child_id in ids:
        present = presence(CHILDREN[kind], child_id, parent_id=parent_id, began_at=began_at, gone=False)
        changes.facts.append(present)
