"""Follow the log: notifications as they are committed, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from storage.clock import clock
from storage.log.scope import LoggedNotification, NotificationState, position_before

#: Most rows of one statement.
PAGE_ROWS = 1_000

#: Most pending notifications whose end is awaited. Beyond it, the oldest are dropped.
MAX_AWAITED = 10_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which notifications are followed.

    Attributes:
        tenants: their tenants.
        type_pattern: a regular expression of Postgres for their type; None for every type.
        session_id, evse_id, charge_point_id: the entity that they name; None for any.
        states: the states in which they are shown; if there is none, each is shown once, in any state.
    """

    tenants: tuple[str, ...]
    type_pattern: str | None = None
    session_id: int | None = None
    evse_id: int | None = None
    charge_point_id: int | None = None
    states: frozenset[NotificationState] = frozenset()


_COLUMNS = """
SELECT notification_state.tenant, received_at, notification_id, notification_type, session_id, evse_id, charge_point_id,
       state, reason, error
  FROM ingest.notification_state
"""

# Index: the primary key of the log, in whose order a page of each tenant is read, however much comes after it. The time
# alone chooses the partitions.
_PAGE = text(f"""
SELECT page.*
  FROM unnest(CAST(:tenants AS text[])) AS selected (tenant)
 CROSS JOIN LATERAL (
       {_COLUMNS}
        WHERE notification_state.tenant = selected.tenant
          AND received_at >= :received_at
          AND (received_at, notification_id) > (:received_at, :notification_id)
          AND (CAST(:type_pattern AS text) IS NULL OR notification_type ~ :type_pattern)
          AND (CAST(:session_id AS bigint) IS NULL OR session_id = :session_id)
          AND (CAST(:evse_id AS bigint) IS NULL OR evse_id = :evse_id)
          AND (CAST(:charge_point_id AS bigint) IS NULL OR charge_point_id = :charge_point_id)
        ORDER BY received_at, notification_id
        LIMIT :limit
       ) AS page
 ORDER BY received_at, notification_id
 LIMIT :limit
""")  # noqa: S608 - the columns are ours

# Index: the primary key of the log.
_AWAITED = text(f"""
{_COLUMNS}
 WHERE notification_state.tenant = ANY(:tenants)
   AND received_at BETWEEN :first_at AND :last_at
   AND notification_id = ANY(:notification_ids)
   AND state <> 'pending'
 ORDER BY received_at, notification_id
""")


class Tail:
    """The notifications of a selection, each once.

    A notification gets its time before it is committed, so one with an earlier time may become visible after one with a
    later time. Each poll therefore reads the last ``overlap`` once more, and leaves out what it has returned.

    Parameters:
        since: when the first of them was received.
        overlap: the longest time between the receipt of a notification and its commit; beyond it, one may be missed.
    """

    def __init__(self, selection: Selection, since: datetime, overlap: timedelta) -> None:
        self._selection = selection
        self._since = since
        self._overlap = overlap
        self._after = position_before(since)
        self._pass_began_at: datetime | None = None
        self._seen: dict[UUID, datetime] = {}
        self._awaited: dict[UUID, datetime] = {}

    @property
    def is_behind(self) -> bool:
        """Whether the last poll read a full page, so that there is more to read at once."""
        return self._pass_began_at is not None

    def poll(self, connection: Connection) -> list[LoggedNotification]:
        """Return the next notifications that were committed, or that came to a selected state since they were seen."""
        began_at = self._pass_began_at or clock.now()
        # Everything that was received before this had been committed when the pass through the pages began. A pass
        # reads in one order, so only what was received later is read again, by the next pass.
        next_since = max(self._since, began_at - self._overlap)
        ended = self._ended(connection)
        page = self._page(connection)
        arrived = [notification for notification in page if self._is_shown(notification, next_since)]
        if len(page) == PAGE_ROWS:
            self._after = page[-1].position
            self._pass_began_at = began_at
        else:
            self._after = position_before(next_since)
            self._pass_began_at = None
            self._seen = {known: at for known, at in self._seen.items() if at >= next_since}
        return ended + arrived

    def _page(self, connection: Connection) -> list[LoggedNotification]:
        selection = self._selection
        received_at, notification_id = self._after
        parameters = {
            "tenants": list(selection.tenants),
            "received_at": received_at,
            "notification_id": notification_id,
            "type_pattern": selection.type_pattern,
            "session_id": selection.session_id,
            "evse_id": selection.evse_id,
            "charge_point_id": selection.charge_point_id,
            "limit": PAGE_ROWS,
        }
        return [LoggedNotification(*row) for row in connection.execute(_PAGE, parameters)]

    def _is_shown(self, notification: LoggedNotification, next_since: datetime) -> bool:
        """Return whether a notification is new and in a selected state, and remember it if it can be read again.

        Parameters:
            next_since: the next pass reads what was received at this time or later.
        """
        if notification.notification_id in self._seen:
            return False
        if notification.received_at >= next_since:
            self._seen[notification.notification_id] = notification.received_at
        states = self._selection.states
        if states - {"pending"} and notification.state == "pending":
            self._awaited[notification.notification_id] = notification.received_at
            if len(self._awaited) > MAX_AWAITED:
                del self._awaited[next(iter(self._awaited))]
        return not states or notification.state in states

    def _ended(self, connection: Connection) -> list[LoggedNotification]:
        """Return the notifications that were pending and are in a selected state now."""
        if not self._awaited:
            return []
        parameters = {
            "tenants": list(self._selection.tenants),
            "first_at": min(self._awaited.values()),
            "last_at": max(self._awaited.values()),
            "notification_ids": list(self._awaited),
        }
        ended = [LoggedNotification(*row) for row in connection.execute(_AWAITED, parameters)]
        for notification in ended:
            del self._awaited[notification.notification_id]
        return [notification for notification in ended if notification.state in self._selection.states]
