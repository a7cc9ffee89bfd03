"""Statuses of EVSEs and charge points, from resources and from AMPECO's status logs.

A resource shows only the latest status, without its error and mostly without its time. The status log contains both,
and every status before it, but costs a call. So the log is read only if the status of the resource differs from the
stored one or has an error, and then from the end of the last read on: one call returns everything that was missed
since then. The time for which the log was read is stored beside the status (*covered*); outside of that time the
history contains only what notifications reported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import islice
from typing import Any, NamedTuple

from ampeco.api.client import Answer, Client
from ampeco.errors import (
    ApiError,
    Forbidden,
    Malformed,
    NotFound,
    NotOffered,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from ampeco.resources.charging import StatusLogEntry
from storage.clock import clock
from storage.state.changes import ChangeSet
from storage.state.clocks import bounded, is_ahead
from storage.state.facts import describe_error, status_log_values
from storage.state.fold import BEGINNING, Fact, fact_from_read
from storage.state.stored import StoredEntity
from workers.api.rate_limit import CallDeferredError

#: The API may show an old state for this long after a notification reported a newer one. What it shows after that is
#: right, even if the clock of the charge point is wrong.
API_LAG = timedelta(minutes=2)

#: Most entries of a status log that are read at once: ten pages. If a status changes more often than that between two
#: reads, the newest state is stored nevertheless.
MAX_LOG_ENTRIES = 1_000

#: A read begins this long before the end of the last one, because an entry may become visible a moment after its time.
OVERLAP = timedelta(minutes=5)

#: The first read of a log begins this long before the stored status: mostly one page.
FIRST_LOOK = timedelta(days=1)


class StatusLog(NamedTuple):
    """One of AMPECO's status logs.

    Attributes:
        kind: the kind of the entities whose status it contains.
        status: ``hardware`` or ``network``, the column group of the status.
        table: the table of the history for its entries.
        entries, latest: the methods of the client that list the log, and that read its latest entry.
    """

    kind: str
    status: str
    table: str
    entries: Callable[..., Any]
    latest: Callable[[Client, int], Answer[Any]]

    def values(self, entry: StatusLogEntry) -> dict[str, Any]:
        """Return the columns of an entry's status."""
        return {"network_status": entry.status} if self.status == "network" else status_log_values(entry)


EVSE_HARDWARE = StatusLog(
    "evse", "hardware", "evse_status_observation", Client.evse_hardware_log, Client.evse_hardware_status
)
CHARGE_POINT_HARDWARE = StatusLog(
    "charge_point",
    "hardware",
    "charge_point_hardware_observation",
    Client.charge_point_hardware_log,
    Client.charge_point_hardware_status,
)
CHARGE_POINT_NETWORK = StatusLog(
    "charge_point",
    "network",
    "charge_point_network_observation",
    Client.charge_point_network_log,
    Client.charge_point_network_status,
)

#: Every log.
LOGS = (EVSE_HARDWARE, CHARGE_POINT_HARDWARE, CHARGE_POINT_NETWORK)


class Shown(NamedTuple):
    """A status that a resource shows.

    Attributes:
        entry: the status, with the time that the resource shows, or else ``began_at``.
        began_at: when the read began, by the tenant's clock.
        has_error: whether it has an error, which only the log describes.
    """

    entry: StatusLogEntry
    began_at: datetime
    has_error: bool = False


def shown(status: str | None, changed_at: datetime | None, began_at: datetime, vendor_error_code: Any = None) -> Shown:
    """Return the status that a resource shows, with the time of its last change if AMPECO sends it."""
    entry = StatusLogEntry(status=status, timestamp=changed_at or began_at, vendor_error_code=vendor_error_code)
    return Shown(entry, began_at, has_error=status == "faulted" or vendor_error_code is not None)


class StoredStatus:
    """One stored status of one entity."""

    def __init__(self, stored: StoredEntity, status: str) -> None:
        self.status = stored.get(f"{status}_status")
        self.at: datetime | None = stored.get(f"{status}_at")
        self.is_of_read = stored.version(status).is_read
        self.is_conflicting: bool = stored.get(f"{status}_conflicting") or False
        self.covered_from: datetime | None = stored.get(f"{status}_covered_from_at")
        self.covered_until: datetime | None = stored.get(f"{status}_log_at")

    @property
    def is_unexplained(self) -> bool:
        """Whether a read showed the status and the log was not read since, because the call quota was used up."""
        if self.at is None or self.covered_until is None:
            return False
        return self.is_of_read and self.at > self.covered_until

    @property
    def look_from(self) -> datetime | None:
        """The time from which the log has to be read; None if no status is stored."""
        if self.covered_until is not None:
            return max(self.covered_until, BEGINNING + OVERLAP) - OVERLAP
        return None if self.at is None else max(self.at, BEGINNING + FIRST_LOOK) - FIRST_LOOK

    def is_doubted_by(self, shown: Shown) -> bool:
        """Return whether the status of a resource differs from the stored one, or statuses between them are missing."""
        changed_at = None if shown.entry.timestamp == shown.began_at else shown.entry.timestamp
        if changed_at is not None and is_ahead(changed_at, shown.began_at):
            changed_at = None  # later than every stored time, so it shows nothing
        if self.is_conflicting or self.is_unexplained:
            return True
        if changed_at is not None and self.at is not None and changed_at > max(self.at, self.covered_until or self.at):
            return True
        return bool(shown.entry.status != self.status)


class LogReads:
    """The reads of status logs for one entity, or for one page of a listing.

    A page contains a hundred entities, and must not wait for the logs of some of them: after one log could not be read
    now, the statuses of the other entities are stored as the page shows them.

    Attributes:
        are_optional: whether they are the reads for a page.
        stopped_by: the error that concerns the whole tenant, to be raised after the page is written; None if none.
    """

    def __init__(self, *, are_optional: bool = False) -> None:
        self.are_optional = are_optional
        self.stopped_by: RateLimited | Unauthorized | Unavailable | None = None
        self._is_stopped = False

    def look(self, log: StatusLog, client: Client, entity_id: int, stored: StoredStatus) -> Looked | None:
        """Read a log; return None if it cannot be read now."""
        if not self.are_optional:
            return look(log, client, entity_id, stored)
        if self._is_stopped:
            return None
        try:
            return look(log, client, entity_id, stored)
        except CallDeferredError:
            self._is_stopped = True
        except (RateLimited, Unauthorized, Unavailable) as error:
            if error.status != HTTPStatus.INTERNAL_SERVER_ERROR:  # which may concern only this log
                self._is_stopped, self.stopped_by = True, error
        except (ApiError, ValueError):
            pass  # concerns only this log
        return None

    def end(self) -> None:
        """Raise the error that stopped the reads, if it concerns the whole tenant."""
        if self.stopped_by is not None:
            raise self.stopped_by


class Looked(NamedTuple):
    """The entries of a log, oldest first, and the time for which they are complete."""

    entries: Sequence[Answer[StatusLogEntry]]
    covered_from: datetime
    covered_until: datetime


def look(log: StatusLog, client: Client, entity_id: int, stored: StoredStatus) -> Looked:
    """Read a log from the end of the last read on, or its latest entry if no status is stored.

    If the tenant offers no log, there are no entries and no time is covered. An entry that cannot be read is left out,
    and the time before it is not covered.
    """
    began_at = clock.now()
    entries: list[Answer[StatusLogEntry]] = []
    covered_from = None
    is_complete = True
    if (look_from := stored.look_from) is not None:
        try:
            for entry in islice(log.entries(client, entity_id, created_after=look_from), MAX_LOG_ENTRIES):
                entries.append(entry)  # one by one, to keep those before an entry that fails
            covered_from = stored.covered_from or look_from
        except Malformed:
            is_complete = False
        except (NotFound, NotOffered, Forbidden):
            pass
    if not entries:
        with contextlib.suppress(NotFound, NotOffered, Forbidden, Malformed):
            entries = [log.latest(client, entity_id)]
            if is_complete:
                covered_from = covered_from or entries[0].resource.timestamp
    entries.sort(key=lambda entry: entry.resource.timestamp)
    if len(entries) == MAX_LOG_ENTRIES:  # the log contains more, before or after them
        return Looked(entries, entries[0].resource.timestamp, entries[-1].resource.timestamp)
    read_at = client.tenant_time(began_at)  # after the calls, because their answers show the tenant's clock
    # The entries have the time of the charge point's clock, which may be some hours ahead: all of them are covered.
    timestamps = [entry.resource.timestamp for entry in entries if not is_ahead(entry.resource.timestamp, read_at)]
    covered_until = max(read_at, *timestamps, stored.at or read_at)
    return Looked(entries, min(covered_from or read_at, covered_until), covered_until)


def status_facts(
    changes: ChangeSet,
    log: StatusLog,
    client: Client,
    entity_id: int,
    entity: StoredEntity,
    logs: LogReads,
    shown: Shown,
) -> None:
    """Add the facts and observations of a status to the changes of a read; read the status log if that is necessary."""
    stored = StoredStatus(entity, log.status)
    if not stored.is_doubted_by(shown):
        return
    if logs.are_optional and stored.at is None and not shown.has_error:
        # The first status of an entity of a page: reading the log of each for its time would cost a call for each.
        looked: Looked | None = Looked([], shown.entry.timestamp, max(shown.began_at, shown.entry.timestamp))
    else:
        looked = logs.look(log, client, entity_id, stored)
    if looked is None:
        if shown.entry.status != stored.status:
            _add(changes, log, entity_id, stored, [_as_shown(shown)], shown)
            if stored.covered_until is None:
                # The log was not read: the covered time ends before the status that is shown.
                ends_at = stored.at or max(shown.entry.timestamp, BEGINNING) - timedelta(seconds=1)
                changes.facts.append(covered(log, entity_id, ends_at, ends_at, shown.began_at))
        return
    reports = _logged(looked)
    if not reports and (shown.entry.status != stored.status or stored.is_conflicting):
        reports = [_as_shown(shown)]
    _add(changes, log, entity_id, stored, reports, shown)
    changes.facts.append(covered(log, entity_id, looked.covered_from, looked.covered_until, shown.began_at))


def changes_from_log(log: StatusLog, client: Client, entity_id: int, entity: StoredEntity) -> ChangeSet:
    """Return the changes of a status since its log was read last."""
    changes, stored = ChangeSet(), StoredStatus(entity, log.status)
    looked = look(log, client, entity_id, stored)
    read_at = client.tenant_time(clock.now())
    as_stored = Shown(StatusLogEntry(status=stored.status, timestamp=stored.at or read_at), read_at)
    _add(changes, log, entity_id, stored, _logged(looked), as_stored)
    changes.facts.append(covered(log, entity_id, looked.covered_from, looked.covered_until, read_at))
    changes.facts = bounded(changes.facts, read_at)
    return changes


def changes_without_log(log: StatusLog, client: Client, entity_id: int, entity: StoredEntity) -> ChangeSet:
    """Return the changes if a log cannot be read: no time up to now is covered."""
    read_at = client.tenant_time(clock.now())
    ends_at = max(read_at, StoredStatus(entity, log.status).at or read_at)
    return ChangeSet(facts=[covered(log, entity_id, ends_at, ends_at, read_at)])


def covered(log: StatusLog, entity_id: int, since: datetime, until: datetime, began_at: datetime) -> Fact:
    """Return the fact that says for which time a log was read."""
    values = {f"{log.status}_covered_from_at": since}
    return fact_from_read(log.kind, entity_id, f"{log.status}_log", until, values, began_at=began_at)


class _Report(NamedTuple):
    """A status, its source, and the time that orders it among other statuses."""

    entry: StatusLogEntry
    source: str
    began_at: datetime
    counts_from: datetime


def _logged(looked: Looked) -> list[_Report]:
    return [
        _Report(entry.resource, "status_log", entry.tenant_time, entry.resource.timestamp) for entry in looked.entries
    ]


def _as_shown(shown: Shown) -> _Report:
    return _Report(shown.entry, "read", shown.began_at, shown.entry.timestamp)


def _add(
    changes: ChangeSet, log: StatusLog, entity_id: int, stored: StoredStatus, reports: list[_Report], shown: Shown
) -> None:
    """Add statuses, oldest first, as facts and as observations.

    If the tenant keeps showing another status than the stored one, and has none that is newer, a clock was wrong: that
    of a charge point, or ours for a status without a time. The status that is shown is then dated by the time of the
    stored one, so that it replaces it. So is the entry of the log for a status that was first stored as a read showed
    it, because the entry adds the error.
    """
    if reports and stored.at is not None:
        newest = reports[-1]
        if newest.entry.status == shown.entry.status and stored.at > newest.counts_from:
            is_past_lag = stored.at > shown.began_at or stored.at < shown.began_at - API_LAG
            if stored.is_of_read or (is_past_lag and newest.entry.status != stored.status):
                reports = [*reports[:-1], newest._replace(counts_from=stored.at)]
    for report in reports:
        values = log.values(report.entry)
        changes.facts.append(
            fact_from_read(log.kind, entity_id, log.status, report.counts_from, values, began_at=report.began_at)
        )
        origin = {f"{log.kind}_id": entity_id, "observed_at": report.entry.timestamp, "source": report.source}
        changes.observe(log.table, values | origin)
        describe_error(changes, report.entry)
