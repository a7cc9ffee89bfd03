"""The timeline of a session: the notifications that name it, the reads of it, and its corrections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection

from receiver.console.queries import decode_log_position, encode_position
from storage.clock import clock
from storage.log.of_entity import LogSearch, NamingNotification, notifications_naming
from storage.log.scope import Position, position_before
from storage.reports.provenance import Change
from storage.reports.session import PendingRead, Session, pending_read
from storage.schema.entities import MIRRORS
from storage.state.stored import StoredEntity

#: How many notifications of the tenant one page looks through for those of the session: some tens of milliseconds.
MAX_SCANNED = 30_000

#: How long before and after the session's row was written notifications of it are looked for: those of meter values do
#: not change the row, and a notification waits until it is applied.
MARGIN = timedelta(minutes=15)

#: How long before the row was first written the session may have started. A clock that is wrong by more would make the
#: search begin years ago.
MAX_BACKLOG = timedelta(days=1)

#: The most entries of the timeline.
MAX_ENTRIES = 300


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened, or several notifications of one type in a row.

    Attributes:
        at: when the first of them was received; of a read when it began, of a correction when it was written.
        until: when the last of several was received.
        notification_id, last_id: the first and the last of them.
        outcome: ignored or failed, of notifications that were not applied.
        detail: what it set or changed.
    """

    at: datetime
    what: Literal["notification", "read", "correction"]
    title: str
    detail: str = ""
    count: int = 1
    until: datetime | None = None
    notification_id: UUID | None = None
    last_id: UUID | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """The timeline of a session.

    Attributes:
        entries: what happened, in order.
        is_cut: whether there are more than ``MAX_ENTRIES``.
        since, until: between which times of receipt notifications were looked for.
        following: where the search continues, as a value of a URL; None: it has come to the end.
        pending: a read of the session that is requested.
    """

    entries: Sequence[Entry]
    is_cut: bool
    since: datetime
    until: datetime
    following: str | None
    pending: PendingRead | None


def load_timeline(
    connection: Connection,
    tenant: str,
    session: Session,
    stored: StoredEntity,
    revisions: Sequence[Change],
    after: str | None,
) -> Timeline:
    """Load the timeline of a session.

    Parameters:
        stored: its row.
        revisions: its corrections.
        after: where an earlier search ended, as a value of a URL.
    """
    since, until = _time(session, stored)
    position = decode_log_position(after)
    if position is not None:
        since, until = position[0], clock.now()
    search = notifications_naming(
        connection,
        tenant,
        "session",
        session.session_id,
        Position(*position) if position else position_before(since),
        until,
        max_scanned=MAX_SCANNED,
    )
    entries = [*_notifications(search.notifications), *_reads(stored), *_corrections(revisions)]
    entries.sort(key=lambda entry: entry.at)
    return Timeline(
        entries[:MAX_ENTRIES],
        len(entries) > MAX_ENTRIES,
        since,
        search.searched_until.received_at if search.searched_until else until,
        _following(search, until),
        pending_read(connection, tenant, "session", session.session_id),
    )


def _time(session: Session, stored: StoredEntity) -> tuple[datetime, datetime]:
    """Return when notifications of a session may have been received, by our clock."""
    now = clock.now()
    first_seen_at = stored.get("first_seen_at") or now
    started_at = session.started_at or first_seen_at
    since = min(first_seen_at, max(started_at, first_seen_at - MAX_BACKLOG)) - MARGIN
    is_running = session.stopped_at is None
    return since, now if is_running else min(now, (stored.get("updated_at") or now) + MARGIN)


def _following(search: LogSearch, until: datetime) -> str | None:
    if search.searched_until is not None:
        return encode_position(*search.searched_until)
    return encode_position(*position_before(until)) if until < clock.now() - MARGIN else None


def _notifications(found: Iterable[NamingNotification]) -> Iterator[Entry]:
    """Yield an entry for the notifications of one type and outcome that follow each other."""
    for (name, outcome), group in groupby(found, key=lambda each: (each.notification_type, each.outcome)):
        run = list(group)
        several = len(run) > 1
        yield Entry(
            run[0].received_at,
            "notification",
            name or "without a type",
            count=len(run),
            until=run[-1].received_at if several else None,
            notification_id=run[0].notification_id,
            last_id=run[-1].notification_id if several else None,
            outcome=outcome,
        )


def _reads(stored: StoredEntity) -> Iterator[Entry]:
    """Yield the last read of each column group; earlier ones left no trace."""
    groups: dict[datetime, list[str]] = {}
    for group in MIRRORS["session"].groups:
        began_at = stored.version(group.name).read_began_at
        if began_at is not None:
            groups.setdefault(began_at, []).append(group.name)
    for began_at, names in groups.items():
        yield Entry(began_at, "read", "Read of AMPECO's API", f"set {', '.join(names)}")


def _corrections(revisions: Iterable[Change]) -> Iterator[Entry]:
    for revision in revisions:
        yield Entry(
            revision.recorded_at,
            "correction",
            "Changed after its end",
            ", ".join(sorted(revision.changed_to)),
            notification_id=revision.notification_id,
        )
