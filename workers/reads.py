"""What to read of an entity, and what the answers say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

from ampeco.client import Answer, Client
from ampeco.errors import Forbidden, NotFound
from ampeco.kinds import KINDS, Kind
from ampeco.resources import NetworkStatusLogEntry, StatusLogEntry
from storage.facts import (
    boot_values,
    charge_point_facts,
    entity_facts,
    evse_facts,
    presence,
    reader,
    session_facts,
    status_log_values,
)
from storage.findings import Findings
from storage.fold import read
from storage.known import Known

Entry = TypeVar("Entry", bound=StatusLogEntry)


class Wanted(NamedTuple):
    """One entity to read.

    Attributes:
        entity_id: its id at AMPECO.
        known: what is stored of it.
        children: the stored ids of its connectors or charging periods.
        reference: what to look it up by in its listing, where its id is not known; else empty.
    """

    entity_id: int
    known: Known
    children: set[int]
    reference: str = ""


def read_session(client: Client, wanted: Wanted) -> Findings:
    """A session with its charging periods and its authorization: one call."""
    found = Findings()
    answer = client.session(wanted.entity_id)
    session = answer.resource
    session_facts(found, session, answer.raw, reader(answer.tenant_time))
    found.facts.append(presence("session", session.id, began_at=answer.tenant_time, gone=False))
    if session.charging_periods is not None:
        listed = {period.id for period in session.charging_periods}
        _children(found, "charging_period", listed, wanted.children, answer.tenant_time)
    return found


def read_evse(client: Client, wanted: Wanted) -> Findings:
    """An EVSE with its connectors: one call, and one for its status where that is not the one we know."""
    found = Findings()
    answer = client.evse(wanted.entity_id)
    evse, began_at = answer.resource, answer.tenant_time
    evse_facts(found, evse, answer.raw, reader(began_at), at=began_at)
    found.facts.append(presence("evse", evse.id, began_at=began_at, gone=False))
    if evse.connectors is not None:
        listed = {connector.id for connector in evse.connectors}
        _children(found, "connector", listed, wanted.children, began_at)
    if _in_doubt(wanted.known, "hardware", evse.hardware_status):
        log = _latest(client.evse_hardware_status, wanted.entity_id)
        shown = StatusLogEntry(status=evse.hardware_status, timestamp=evse.last_hardware_status_update_at or began_at)
        _hardware(found, "evse", wanted.entity_id, log, Answer(shown, {}, began_at))
    return found


def read_charge_point(client: Client, wanted: Wanted) -> Findings:
    """A charge point: one call, and one for each of its two statuses that is not the one we know."""
    found = Findings()
    answer = client.charge_point(wanted.entity_id)
    charge_point, began_at = answer.resource, answer.tenant_time
    charge_point_facts(found, charge_point, answer.raw, reader(began_at))
    found.facts.append(presence("charge_point", charge_point.id, began_at=began_at, gone=False))
    boot = charge_point.last_boot_notification
    if boot is not None and boot.last_updated_at is not None:
        values = boot_values(boot)
        found.facts.append(
            read("charge_point", wanted.entity_id, "boot", boot.last_updated_at, values, began_at=began_at)
        )
    if _in_doubt(wanted.known, "network", charge_point.network_status):
        network = _latest(client.charge_point_network_status, wanted.entity_id)
        connection = StatusLogEntry(
            status=charge_point.network_status, timestamp=charge_point.last_network_status_update_at or began_at
        )
        _network(found, wanted.entity_id, network, Answer(connection, {}, began_at))
    if _in_doubt(wanted.known, "hardware", charge_point.hardware_status):
        hardware = _latest(client.charge_point_hardware_status, wanted.entity_id)
        shown = StatusLogEntry(
            status=charge_point.hardware_status,
            timestamp=charge_point.last_hardware_status_update_at or began_at,
            vendor_error_code=charge_point.vendor_error_code,
        )
        _hardware(found, "charge_point", wanted.entity_id, hardware, Answer(shown, {}, began_at))
    return found


def read_entity(kind: Kind[Any], client: Client, wanted: Wanted) -> Findings:
    """An entity of a kind that needs nothing more: one call.

    By a reference it is looked up in its listing, which may hold several, or none as yet.
    """
    found = Findings()
    if wanted.reference and kind.reference_filter:
        answers = list(client.list(kind, **{kind.reference_filter: wanted.reference}))
    else:
        answers = [client.read(kind, wanted.entity_id)]
    for answer in answers:
        began_at = answer.tenant_time
        entity_facts(found, kind.name, answer.resource, answer.raw, reader(began_at), at=began_at)
        found.facts.append(presence(kind.name, answer.resource.id, began_at=began_at, gone=False))
    return found


#: The kinds whose read is more than one call, or says more than one entity.
_OF_THEIR_OWN = {"session": read_session, "evse": read_evse, "charge_point": read_charge_point}

READERS: dict[str, Callable[[Client, Wanted], Findings]] = {
    name: _OF_THEIR_OWN.get(name) or partial(read_entity, kind) for name, kind in KINDS.items()
}

#: The table of an entity's children, which are read with it.
CHILDREN = {"session": "charging_period", "evse": "connector"}


def _in_doubt(known: Known, group: str, shown: str | None) -> bool:
    """Whether the status that a resource shows, without a time, is not the one we know."""
    if known.get(f"{group}_contested"):
        return True
    return shown != known.get(f"{group}_status")


def _latest(log: Callable[[int], Answer[Entry]], entity_id: int) -> Answer[Entry] | None:
    """The newest entry of a status log; None where the tenant offers none."""
    try:
        return log(entity_id)
    except (NotFound, Forbidden):
        return None


def _hardware(
    found: Findings,
    entity: str,
    entity_id: int,
    log: Answer[StatusLogEntry] | None,
    shown: Answer[StatusLogEntry],
) -> None:
    """The hardware status by the log, which has its time and error; else as the resource shows it."""
    answer = log or shown
    values = status_log_values(answer.resource)
    at = answer.resource.timestamp
    found.facts.append(read(entity, entity_id, "hardware", at, values, began_at=answer.tenant_time))
    table = "evse_status_observation" if entity == "evse" else "charge_point_hardware_observation"
    source = "status_log" if log else "read"
    found.observe(table, values | {f"{entity}_id": entity_id, "observed_at": at, "source": source})


def _network(
    found: Findings,
    entity_id: int,
    log: Answer[NetworkStatusLogEntry] | None,
    shown: Answer[StatusLogEntry],
) -> None:
    """The network status by the log, which has its time; else as the resource shows it."""
    answer: Answer[NetworkStatusLogEntry] | Answer[StatusLogEntry] = log or shown
    status, at = {"network_status": answer.resource.status}, answer.resource.timestamp
    found.facts.append(read("charge_point", entity_id, "network", at, status, began_at=answer.tenant_time))
    source = "status_log" if log else "read"
    found.observe(
        "charge_point_network_observation",
        status | {"charge_point_id": entity_id, "observed_at": at, "source": source},
    )


def _children(found: Findings, child: str, listed: set[int], stored: set[int], began_at: datetime) -> None:
    """What is listed is there, whatever was thought; what is stored and no longer listed is gone."""
    for child_id in listed | stored:
        found.facts.append(presence(child, child_id, began_at=began_at, gone=child_id not in listed))
