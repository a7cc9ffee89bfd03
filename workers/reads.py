"""What the answers of AMPECO's API say, and the further reads that some of them call for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from ampeco.client import Answer, Client
from ampeco.errors import Forbidden, Malformed, NotFound
from ampeco.kinds import KINDS
from ampeco.resources import ChargePoint, Evse, Session, StatusLogEntry
from storage.clocks import bounded, is_ahead
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

#: The API may show a state for this long after a notification told of a newer one. What it
#: shows later than that is so, whatever clock the charge point went by.
API_LAG = timedelta(minutes=2)

#: Entries of a status log that are taken up at once: ten pages. A charge point that
#: flaps more often than that between two looks has its newest state all the same.
MOST_LOG_ENTRIES = 1_000


class Wanted(NamedTuple):
    """One entity that is read.

    Attributes:
        entity_id: its id at AMPECO.
        known: what is stored of it.
        children: the stored ids of its connectors or charging periods.
        is_listed: whether it was read with many others. Then a first status is taken as it is
            shown, from when the read began: asking for the time of each costs a call.
    """

    entity_id: int
    known: Known
    children: set[int]
    is_listed: bool = False


def findings_of_answer(kind: str, client: Client, answer: Answer[Any], wanted: Wanted) -> Findings:
    """What a read of an entity says; for statuses in doubt, further calls are made."""
    found = Findings()
    found.facts.append(presence(kind, wanted.entity_id, began_at=answer.tenant_time, gone=False))
    found.drift.see_fields(answer.resource, answer.tenant_time)
    _OF_THEIR_OWN.get(kind, partial(_entity, kind))(found, client, answer, wanted)
    found.facts = bounded(found.facts, answer.tenant_time)
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
            wanted = Wanted(answer.resource.id, Known(kind, {}), set())
            found.add(findings_of_answer(kind, client, answer, wanted))
    except Malformed:
        if not found.facts:  # one that cannot be read hides none that can
            raise
    return found


def _entity(kind: str, found: Findings, _client: Client, answer: Answer[Any], _wanted: Wanted) -> None:
    began_at = answer.tenant_time
    entity_facts(found, kind, answer.resource, answer.raw, reader(began_at), at=began_at)


def _session(found: Findings, _client: Client, answer: Answer[Session], wanted: Wanted) -> None:
    """A session with its charging periods and its authorization."""
    session = answer.resource
    session_facts(found, session, answer.raw, reader(answer.tenant_time))
    if session.charging_periods is not None:
        listed = {period.id for period in session.charging_periods}
        stored = wanted.children if session.was_read("charging_periods") else set()
        _children(found, "charging_period", listed, stored, answer.tenant_time)


def _evse(found: Findings, client: Client, answer: Answer[Evse], wanted: Wanted) -> None:
    """An EVSE with its connectors; one more call for its status where that is not the one we know."""
    evse, began_at = answer.resource, answer.tenant_time
    evse_facts(found, evse, answer.raw, reader(began_at), at=began_at)
    if evse.connectors is not None:
        listed = {connector.id for connector in evse.connectors}
        stored = wanted.children if evse.was_read("connectors") else set()
        _children(found, "connector", listed, stored, began_at)
    changed_at = evse.last_hardware_status_update_at
    if evse.was_read("hardware_status") and _in_doubt(wanted, "hardware", evse.hardware_status, changed_at, began_at):
        shown = StatusLogEntry(status=evse.hardware_status, timestamp=changed_at or began_at)
        _hardware(found, "evse", client, wanted, Answer(shown, {}, began_at))


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
    changed_at = charge_point.last_network_status_update_at
    status = charge_point.network_status
    if charge_point.was_read("network_status") and _in_doubt(wanted, "network", status, changed_at, began_at):
        connection = StatusLogEntry(status=status, timestamp=changed_at or began_at)
        _network(found, client, wanted, Answer(connection, {}, began_at))
    changed_at = charge_point.last_hardware_status_update_at
    status = charge_point.hardware_status
    if charge_point.was_read("hardware_status") and _in_doubt(wanted, "hardware", status, changed_at, began_at):
        shown = StatusLogEntry(
            status=status,
            timestamp=changed_at or began_at,
            vendor_error_code=charge_point.vendor_error_code,
        )
        _hardware(found, "charge_point", client, wanted, Answer(shown, {}, began_at))


#: The kinds whose answer says more than one entity, or calls for more than one read.
_OF_THEIR_OWN: dict[str, Callable[[Findings, Client, Answer[Any], Wanted], None]] = {
    "session": _session,
    "evse": _evse,
    "charge_point": _charge_point,
}

#: The table of an entity's children, which are read with it.
CHILDREN = {"session": "charging_period", "evse": "connector"}


def _in_doubt(wanted: Wanted, group: str, shown: str | None, changed_at: datetime | None, began_at: datetime) -> bool:
    """Whether the status that a resource shows is not the one we know, or not all that there was."""
    if changed_at is not None and is_ahead(changed_at, began_at):
        changed_at = None  # it will be later than whatever we know, and says nothing
    known_at = wanted.known.get(f"{group}_at")
    if wanted.known.get(f"{group}_contested"):
        return True
    if changed_at is not None and known_at is not None and changed_at > known_at:
        return True
    return shown != wanted.known.get(f"{group}_status")


def _logged(
    wanted: Wanted,
    group: str,
    log: Callable[..., Iterator[Answer[Entry]]],
    latest: Callable[[int], Answer[Entry]],
) -> list[Answer[Entry]]:
    """The entries of a status log since the status we know, oldest first; none where the tenant offers no log.

    Of a log that we know nothing of, the latest entry alone is read, and of one that shows nothing.
    Entries that cannot be read are left out: they are no fault of the entity.
    """
    known_at = wanted.known.get(f"{group}_at")
    if wanted.is_listed and known_at is None:
        return []
    entries: list[Answer[Entry]] = []
    if known_at is not None:
        with contextlib.suppress(NotFound, Forbidden, Malformed):
            entries.extend(islice(log(wanted.entity_id, created_after=known_at), MOST_LOG_ENTRIES))
    if not entries:
        with contextlib.suppress(NotFound, Forbidden, Malformed):
            entries = [latest(wanted.entity_id)]
    return sorted(entries, key=lambda entry: entry.resource.timestamp)


def _hardware(found: Findings, entity: str, client: Client, wanted: Wanted, shown: Answer[StatusLogEntry]) -> None:
    """The hardware statuses by the log, which has their times and errors; else as the resource shows it."""
    if entity == "evse":
        table = "evse_status_observation"
        logged = _logged(wanted, "hardware", client.evse_hardware_log, client.evse_hardware_status)
    else:
        table = "charge_point_hardware_observation"
        log, latest = client.charge_point_hardware_log, client.charge_point_hardware_status
        logged = _logged(wanted, "hardware", log, latest)
    for told in _told(wanted, "hardware", logged, shown):
        values = status_log_values(told.entry)
        found.facts.append(read(entity, wanted.entity_id, "hardware", told.counts_from, values, began_at=told.began_at))
        seen = {f"{entity}_id": wanted.entity_id, "observed_at": told.entry.timestamp, "source": told.source}
        found.observe(table, values | seen)


def _network(found: Findings, client: Client, wanted: Wanted, shown: Answer[StatusLogEntry]) -> None:
    """The network statuses by the log, which has their times; else as the resource shows it."""
    logged = _logged(wanted, "network", client.charge_point_network_log, client.charge_point_network_status)
    for told in _told(wanted, "network", logged, shown):
        values = {"network_status": told.entry.status}
        entity_id, at = wanted.entity_id, told.counts_from
        found.facts.append(read("charge_point", entity_id, "network", at, values, began_at=told.began_at))
        seen = {"charge_point_id": entity_id, "observed_at": told.entry.timestamp, "source": told.source}
        found.observe("charge_point_network_observation", values | seen)


class _Told(NamedTuple):
    """A status, who told it, and the time by which it is newer or older than others."""

    entry: StatusLogEntry
    source: str
    began_at: datetime
    counts_from: datetime


def _told(
    wanted: Wanted, group: str, logged: Sequence[Answer[StatusLogEntry]], shown: Answer[StatusLogEntry]
) -> list[_Told]:
    """The statuses that a read tells, oldest first, by the log where there is one.

    Where the tenant goes on showing another status than the one we know, and has none that is
    newer, a clock was wrong: a charge point's, or ours of a status without a time. What is
    shown then counts from the time that we know, so that it stands.
    """
    told = [
        _Told(answer.resource, "status_log", answer.tenant_time, answer.resource.timestamp) for answer in logged
    ] or [_Told(shown.resource, "read", shown.tenant_time, shown.resource.timestamp)]
    newest, known_at = told[-1], wanted.known.get(f"{group}_at")
    contradicts = newest.entry.status == shown.resource.status != wanted.known.get(f"{group}_status")
    if contradicts and known_at is not None and known_at > newest.counts_from:
        is_settled = known_at > shown.tenant_time or known_at < shown.tenant_time - API_LAG
        if is_settled or wanted.known[f"{group}_version"].startswith("1"):
            told[-1] = newest._replace(counts_from=known_at)
    return told


def _children(found: Findings, child: str, listed: set[int], stored: set[int], began_at: datetime) -> None:
    """What is listed is there, whatever was thought; what is stored and no longer listed is gone.

    Where a part of the list cannot be read, it may be any of the stored ones: then none counts as gone.
    """
    for child_id in listed | stored:
        found.facts.append(presence(child, child_id, began_at=began_at, gone=child_id not in listed))
