"""What the answers of AMPECO's API say, and the further reads that some of them call for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from ampeco.client import Answer, Client
from ampeco.errors import Malformed
from ampeco.kinds import KINDS
from ampeco.resources import ChargePoint, Evse, Session
from storage.clocks import bounded
from storage.facts import (
    boot_values,
    charge_point_facts,
    entity_facts,
    evse_facts,
    presence,
    reader,
    session_facts,
)
from storage.findings import Findings, Listed
from storage.fold import Fact, read
from storage.known import Known, whole_group
from storage.mirrors import CHILDREN
from workers.statuses import CHARGE_POINT_HARDWARE, CHARGE_POINT_NETWORK, EVSE_HARDWARE, LogReads, shown, status_facts


class Wanted(NamedTuple):
    """One entity that is read.

    Attributes:
        entity_id: its id at AMPECO.
        known: what is stored of it.
        logs: the looks into status logs; those of a page are shared by all that it lists.
    """

    entity_id: int
    known: Known
    logs: LogReads


def findings_of_answer(kind: str, client: Client, answer: Answer[Any], wanted: Wanted) -> Findings:
    """What a read of an entity says; for statuses in doubt, further calls are made."""
    found = Findings()
    found.facts.append(presence(kind, wanted.entity_id, began_at=answer.tenant_time, gone=False))
    found.drift.see_fields(answer.resource, answer.tenant_time)
    _OF_THEIR_OWN.get(kind, partial(_entity, kind))(found, client, answer, wanted)
    began_at = answer.tenant_time
    found.facts = bounded([_since_when(kind, fact, wanted, began_at) for fact in found.facts], began_at)
    return found


def findings_of_absence(kind: str, entity_id: int, began_at: datetime) -> Findings:
    """What a read says that found no such entity: it is gone, and none of its children is there."""
    found = Findings()
    found.facts.append(presence(kind, entity_id, began_at=began_at, gone=True))
    found.listed.append(Listed(kind, entity_id, frozenset(), began_at))
    return found


def read_entity(kind: str, client: Client, wanted: Wanted) -> Findings:
    """Read one entity, and what it calls for.

    Raises:
        NotFound: there is no such entity.
        ValueError: the answer is about another one.
    """
    answer: Answer[Any] = client.read(KINDS[kind], wanted.entity_id)
    if answer.resource.id != wanted.entity_id:
        raise ValueError(f"the answer is about {kind} {answer.resource.id}")
    return findings_of_answer(kind, client, answer, wanted)


def look_up(kind: str, client: Client, reference: str) -> Findings:
    """Look entities up in their listing by a reference; there may be several, or none as yet."""
    found = Findings()
    name = KINDS[kind].reference_filter
    assert name is not None, f"{kind} is not known by a reference"
    try:
        for answer in client.list(KINDS[kind], **{name: reference}):
            wanted = Wanted(answer.resource.id, Known(kind, {}), LogReads())
            found.add(findings_of_answer(kind, client, answer, wanted))
    except Malformed:
        if not found.facts:  # one that cannot be read hides none that can
            raise
    return found


def _entity(kind: str, found: Findings, _client: Client, answer: Answer[Any], _wanted: Wanted) -> None:
    began_at = answer.tenant_time
    entity_facts(found, kind, answer.resource, answer.raw, reader(began_at), at=began_at)


def _since_when(kind: str, fact: Fact, wanted: Wanted, began_at: datetime) -> Fact:
    """An entity without a time of its own counts from the first read that showed it as it is."""
    group = whole_group(kind)
    if (fact.entity, fact.entity_id, fact.group) != (kind, wanted.entity_id, group):
        return fact
    version = wanted.known.version(group)
    is_as_known = version.is_read and version.has_values_of(fact.version)
    return replace(fact, at=wanted.known[f"{group}_at"]) if is_as_known and fact.at == began_at else fact


def _session(found: Findings, _client: Client, answer: Answer[Session], wanted: Wanted) -> None:
    """A session with its charging periods and its authorization."""
    session = answer.resource
    session_facts(found, session, answer.raw, reader(answer.tenant_time))
    if session.charging_periods is not None:
        ids = [period.id for period in session.charging_periods]
        is_complete = session.was_read("charging_periods")
        _children(found, "session", session.id, ids, answer.tenant_time, is_complete=is_complete)


def _evse(found: Findings, client: Client, answer: Answer[Evse], wanted: Wanted) -> None:
    """An EVSE with its connectors; one more call for its status where that is not the one we know."""
    evse, began_at = answer.resource, answer.tenant_time
    evse_facts(found, evse, answer.raw, reader(began_at), at=began_at)
    if evse.connectors is not None:
        ids = [connector.id for connector in evse.connectors]
        _children(found, "evse", evse.id, ids, began_at, is_complete=evse.was_read("connectors"))
    if evse.was_read("hardware_status"):
        hardware = shown(evse.hardware_status, evse.last_hardware_status_update_at, began_at)
        status_facts(found, EVSE_HARDWARE, client, wanted.entity_id, wanted.known, wanted.logs, hardware)


def _charge_point(found: Findings, client: Client, answer: Answer[ChargePoint], wanted: Wanted) -> None:
    """A charge point; one more call for each of its two statuses that is not the one we know."""
    charge_point, began_at = answer.resource, answer.tenant_time
    charge_point_facts(found, charge_point, answer.raw, reader(began_at), at=began_at)
    boot = charge_point.last_boot_notification
    if boot is not None and boot.last_updated_at is not None:
        values = boot_values(boot)
        found.facts.append(
            read("charge_point", wanted.entity_id, "boot", boot.last_updated_at, values, began_at=began_at)
        )
    if charge_point.was_read("network_status"):
        network = shown(charge_point.network_status, charge_point.last_network_status_update_at, began_at)
        status_facts(found, CHARGE_POINT_NETWORK, client, wanted.entity_id, wanted.known, wanted.logs, network)
    if charge_point.was_read("hardware_status"):
        hardware = shown(
            charge_point.hardware_status,
            charge_point.last_hardware_status_update_at,
            began_at,
            charge_point.vendor_error_code,
        )
        status_facts(found, CHARGE_POINT_HARDWARE, client, wanted.entity_id, wanted.known, wanted.logs, hardware)


#: The kinds whose answer says more than one entity, or calls for more than one read.
_OF_THEIR_OWN: dict[str, Callable[[Findings, Client, Answer[Any], Wanted], None]] = {
    "session": _session,
    "evse": _evse,
    "charge_point": _charge_point,
}


def _children(
    found: Findings, kind: str, parent_id: int, ids: list[int], began_at: datetime, *, is_complete: bool
) -> None:
    """What is listed is there, whatever was thought; what is not is seen to when the read is written.

    Where a part of the list cannot be read, it may be any of the stored ones: then none counts as gone.
    """
    if is_complete:
        found.listed.append(Listed(kind, parent_id, frozenset(ids), began_at))
    for child_id in ids:
        there = presence(CHILDREN[kind], child_id, parent_id=parent_id, began_at=began_at, gone=False)
        found.facts.append(there)
