"""Statuses of EVSEs and charge points: as a resource shows them, and as AMPECO's status logs tell them.

A resource shows the latest status alone, without its error and mostly without its time. The log has
both, and every status before it, but costs a call. So it is read where the status shown is not the
one we know, or an error stands behind it, and then from where the last look at it ended: whatever was
missed since is found by one call. For how long the log was read is stored beside the status; outside of
that the history holds what notifications told, and no more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import islice
from typing import Any, NamedTuple

from ampeco.client import Answer, Client
from ampeco.errors import ApiError, Forbidden, Malformed, NotFound, RateLimited, Unauthorized, Unavailable
from ampeco.resources import StatusLogEntry
from storage.changes import ChangeSet
from storage.clock import clock
from storage.clocks import bounded, is_ahead
from storage.facts import status_log_values
from storage.fold import BEGINNING, Fact, fact_from_read
from storage.stored import StoredEntity
from workers.rate_limit import CallDeferredError

#: The API may show a state for this long after a notification told of a newer one. What it
#: shows later than that is so, whatever clock the charge point went by.
API_LAG = timedelta(minutes=2)

#: Entries of a status log that are taken up at once: ten pages. A charge point that
#: flaps more often than that between two looks has its newest state all the same.
MAX_LOG_ENTRIES = 1_000

#: A look begins this long before the last one ended, as an entry may become visible a moment after its time.
OVERLAP = timedelta(minutes=5)

#: The first look at a log goes back this far before the status that we know: mostly one page.
FIRST_LOOK = timedelta(days=1)


class StatusLog(NamedTuple):
    """One of AMPECO's status logs.

    Attributes:
        kind: what it belongs to.
        status: ``hardware`` or ``network``, the group of its columns.
        table: the history that its entries are added to.
        entries, latest: the client's methods that list it, and that read its latest entry.
    """

    kind: str
    status: str
    table: str
    entries: Callable[..., Any]
    latest: Callable[[Client, int], Answer[Any]]

    def values(self, entry: StatusLogEntry) -> dict[str, Any]:
        """The columns of the status."""
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
        entry: what it shows, at the time that it tells, or else at ``began_at``.
        began_at: when the read began, by the tenant's clock.
        has_error: whether an error stands behind it, which the log alone tells.
    """

    entry: StatusLogEntry
    began_at: datetime
    has_error: bool = False


def shown(status: str | None, changed_at: datetime | None, began_at: datetime, vendor_error_code: Any = None) -> Shown:
    """The status that a resource shows, with the time of its last change where AMPECO tells it."""
    entry = StatusLogEntry(status=status, timestamp=changed_at or began_at, vendor_error_code=vendor_error_code)
    return Shown(entry, began_at, has_error=status == "faulted" or vendor_error_code is not None)


class StoredStatus:
    """What is stored of one status of one entity."""

    def __init__(self, stored: StoredEntity, status: str) -> None:
        self.status = stored.get(f"{status}_status")
        self.at: datetime | None = stored.get(f"{status}_at")
        self.is_of_read = stored.version(status).is_read
        self.is_conflicting: bool = stored.get(f"{status}_conflicting") or False
        self.covered_from: datetime | None = stored.get(f"{status}_covered_from_at")
        self.covered_until: datetime | None = stored.get(f"{status}_log_at")

    @property
    def is_unexplained(self) -> bool:
        """Whether a read showed it and the log was not looked into since, as the calls were used up."""
        if self.at is None or self.covered_until is None:
            return False
        return self.is_of_read and self.at > self.covered_until

    @property
    def look_from(self) -> datetime | None:
        """From when on the log is to be read; None where nothing is known."""
        if self.covered_until is not None:
            return max(self.covered_until, BEGINNING + OVERLAP) - OVERLAP
        return None if self.at is None else max(self.at, BEGINNING + FIRST_LOOK) - FIRST_LOOK

    def is_doubted_by(self, shown: Shown) -> bool:
        """Whether what is shown is not what we know, or not all that there was."""
        changed_at = None if shown.entry.timestamp == shown.began_at else shown.entry.timestamp
        if changed_at is not None and is_ahead(changed_at, shown.began_at):
            changed_at = None  # it will be later than whatever we know, and says nothing
        if self.is_conflicting or self.is_unexplained:
            return True
        if changed_at is not None and self.at is not None and changed_at > max(self.at, self.covered_until or self.at):
            return True
        return bool(shown.entry.status != self.status)


class LogReads:
    """The looks into status logs that one read takes, or one page of a listing.

    A page holds a hundred entities, and must not wait for the logs of some of them: once a log may not be
    read now, the statuses of all others are taken as the page shows them.

    Attributes:
        are_optional: whether they are those of a page.
        stopped_by: what speaks for the whole tenant; to be raised once the page is written.
    """

    def __init__(self, *, are_optional: bool = False) -> None:
        self.are_optional = are_optional
        self.stopped_by: ApiError | None = None
        self._is_stopped = False

    def look(self, log: StatusLog, client: Client, entity_id: int, stored: StoredStatus) -> Looked | None:
        """Look into a log; None where it may not be read now."""
        if not self.are_optional:
            return look(log, client, entity_id, stored)
        if self._is_stopped:
            return None
        try:
            return look(log, client, entity_id, stored)
        except CallDeferredError:
            self._is_stopped = True
        except (RateLimited, Unauthorized, Unavailable) as error:
            if error.status != HTTPStatus.INTERNAL_SERVER_ERROR:  # else it may be about this log alone
                self._is_stopped, self.stopped_by = True, error
        except (ApiError, ValueError):
            pass  # of this log alone
        return None

    def end(self) -> None:
        """Raise what stopped them, if it speaks for the whole tenant."""
        if self.stopped_by is not None:
            raise self.stopped_by


class Looked(NamedTuple):
    """What a log holds, oldest first, and the time for which it holds everything."""

    entries: Sequence[Answer[StatusLogEntry]]
    covered_from: datetime
    covered_until: datetime


def look(log: StatusLog, client: Client, entity_id: int, stored: StoredStatus) -> Looked:
    """Read a log from where the last look ended; where nothing is known, its latest entry.

    Where the tenant offers no log, it holds nothing, for no time at all. An entry that cannot be read is left out,
    and the time before it is not covered.
    """
    began_at = clock.now()
    entries: list[Answer[StatusLogEntry]] = []
    covered_from = None
    is_complete = True
    if (look_from := stored.look_from) is not None:
        try:
            for entry in islice(log.entries(client, entity_id, created_after=look_from), MAX_LOG_ENTRIES):
                entries.append(entry)  # each for itself: those before one that fails count
            covered_from = stored.covered_from or look_from
        except Malformed:
            is_complete = False
        except (NotFound, Forbidden):
            pass
    if not entries:
        with contextlib.suppress(NotFound, Forbidden, Malformed):
            entries = [log.latest(client, entity_id)]
            if is_complete:
                covered_from = covered_from or entries[0].resource.timestamp
    entries.sort(key=lambda entry: entry.resource.timestamp)
    if len(entries) == MAX_LOG_ENTRIES:  # there are more, before them or after them
        return Looked(entries, entries[0].resource.timestamp, entries[-1].resource.timestamp)
    read_at = client.tenant_time(began_at)  # known by now, even if these were the first answers
    # By the charge point's clock, too, which may be some hours ahead: all that it told is covered.
    told = [entry.resource.timestamp for entry in entries if not is_ahead(entry.resource.timestamp, read_at)]
    covered_until = max(read_at, *told, stored.at or read_at)
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
    """Add what a read tells of a status to what it changes: by the log, where there is a reason to look into it."""
    stored = StoredStatus(entity, log.status)
    if not stored.is_doubted_by(shown):
        return
    if logs.are_optional and stored.at is None and not shown.has_error:
        # The first that is known of it: asking each for its time would cost a call for each.
        looked: Looked | None = Looked([], shown.entry.timestamp, max(shown.began_at, shown.entry.timestamp))
    else:
        looked = logs.look(log, client, entity_id, stored)
    if looked is None:
        if shown.entry.status != stored.status:
            _add(changes, log, entity_id, stored, [_as_shown(shown)], shown)
            if stored.covered_until is None:
                # Nothing was looked for: what is covered ends before what is shown.
                ends_at = stored.at or max(shown.entry.timestamp, BEGINNING) - timedelta(seconds=1)
                changes.facts.append(covered(log, entity_id, ends_at, ends_at, shown.began_at))
        return
    told = _logged(looked)
    if not told and (shown.entry.status != stored.status or stored.is_conflicting):
        told = [_as_shown(shown)]
    _add(changes, log, entity_id, stored, told, shown)
    changes.facts.append(covered(log, entity_id, looked.covered_from, looked.covered_until, shown.began_at))


def changes_from_log(log: StatusLog, client: Client, entity_id: int, entity: StoredEntity) -> ChangeSet:
    """What a log tells of an entity since the last look at it."""
    changes, stored = ChangeSet(), StoredStatus(entity, log.status)
    looked = look(log, client, entity_id, stored)
    read_at = client.tenant_time(clock.now())
    as_stored = Shown(StatusLogEntry(status=stored.status, timestamp=stored.at or read_at), read_at)
    _add(changes, log, entity_id, stored, _logged(looked), as_stored)
    changes.facts.append(covered(log, entity_id, looked.covered_from, looked.covered_until, read_at))
    changes.facts = bounded(changes.facts, read_at)
    return changes


def changes_without_log(log: StatusLog, client: Client, entity_id: int, entity: StoredEntity) -> ChangeSet:
    """Return the changes where a log cannot be read: nothing is covered, up to now."""
    read_at = client.tenant_time(clock.now())
    ends_at = max(read_at, StoredStatus(entity, log.status).at or read_at)
    return ChangeSet(facts=[covered(log, entity_id, ends_at, ends_at, read_at)])


def covered(log: StatusLog, entity_id: int, since: datetime, until: datetime, began_at: datetime) -> Fact:
    """For how long a log was read."""
    values = {f"{log.status}_covered_from_at": since}
    return fact_from_read(log.kind, entity_id, f"{log.status}_log", until, values, began_at=began_at)


class _Told(NamedTuple):
    """A status, who told it, and the time by which it is newer or older than others."""

    entry: StatusLogEntry
    source: str
    began_at: datetime
    counts_from: datetime


def _logged(looked: Looked) -> list[_Told]:
    return [_Told(one.resource, "status_log", one.tenant_time, one.resource.timestamp) for one in looked.entries]


def _as_shown(shown: Shown) -> _Told:
    return _Told(shown.entry, "read", shown.began_at, shown.entry.timestamp)


def _add(
    changes: ChangeSet, log: StatusLog, entity_id: int, stored: StoredStatus, told: list[_Told], shown: Shown
) -> None:
    """Add statuses, oldest first, as facts and as observations.

    Where the tenant goes on showing another status than the one we know, and has none that is
    newer, a clock was wrong: a charge point's, or ours of a status without a time. What is
    shown then counts from the time that we know, so that it stands. So does what the log says of a status
    that was first taken as it was shown: it brings the error.
    """
    if told and stored.at is not None:
        newest = told[-1]
        if newest.entry.status == shown.entry.status and stored.at > newest.counts_from:
            is_settled = stored.at > shown.began_at or stored.at < shown.began_at - API_LAG
            if stored.is_of_read or (is_settled and newest.entry.status != stored.status):
                told = [*told[:-1], newest._replace(counts_from=stored.at)]
    for one in told:
        values = log.values(one.entry)
        changes.facts.append(
            fact_from_read(log.kind, entity_id, log.status, one.counts_from, values, began_at=one.began_at)
        )
        seen = {f"{log.kind}_id": entity_id, "observed_at": one.entry.timestamp, "source": one.source}
        changes.observe(log.table, values | seen)
