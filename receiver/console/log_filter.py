"""The filter of the pages about notifications: read from a URL or a form, and written to a URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, get_args
from urllib.parse import urlencode
from uuid import UUID

from receiver.console.queries import Query
from storage.ids import made_at
from storage.log.scope import BEFORE_ANY, NotificationState, Scope

#: The time that a search covers by default, because the whole log may be weeks.
DEFAULT_SPAN = timedelta(hours=1)

STATES: tuple[NotificationState, ...] = get_args(NotificationState)

#: What the pages call the filters.
LABELS = {
    "from": "From",
    "to": "To",
    "type": "Type",
    "state": "State",
    "reason": "Cause",
    "session": "Session",
    "evse": "EVSE",
    "charge_point": "Charge point",
    "containing": "Text in the body",
    "id": "Id",
}

#: The longest text of a filter: a name or a part of a body, and no body.
MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class LogFilter:
    """A selection of notifications, as a URL names it.

    Attributes:
        scope: the selection; its state is None if open batches are selected.
        is_pending: whether the notifications of open batches are selected.
        given: the names and values of the URL that were understood.
        problems: what was not, each in one sentence.
    """

    scope: Scope
    is_pending: bool
    given: Mapping[str, str]
    problems: tuple[str, ...] = ()

    @property
    def state(self) -> str | None:
        """The state that is selected."""
        return "pending" if self.is_pending else self.scope.state

    def query(self, **changes: str | None) -> str:
        """Return the query of a URL with this filter, with some values changed or, if None, left out."""
        values = {**self.given, **changes}
        return urlencode({name: value for name, value in values.items() if value is not None})

    def fixed(self) -> LogFilter:
        """Return the filter with its time in the URL, so that it selects the same notifications later."""
        times = {"from": self.scope.since.isoformat(), "to": self.scope.until.isoformat()}
        if self.scope.since == BEFORE_ANY:
            del times["from"]
        return replace(self, given={**self.given, **times})


def read_filter(values: Mapping[str, Any], tenant: str, now: datetime) -> LogFilter:
    """Read a filter; what cannot be understood is left out, and named in its problems.

    Parameters:
        values: the query of a URL, or a form.
        now: the present time, at which a filter without an end ends.
    """
    query = Query(values, LABELS)

    def text(name: str) -> str | None:
        # Not cut: a replay by a part of the text would select other notifications.
        return query.text(name, longest=MAX_TEXT, is_cut=False)

    state = query.choice("state", STATES)
    notification_id = query.uuid("id")
    reason = text("reason")
    since, until = _span(query, now, is_whole=state == "failed" or reason is not None, notification_id=notification_id)
    scope = Scope(
        tenant,
        since,
        until,
        notification_type=text("type"),
        state=None if state == "pending" else state,
        reason=reason,
        session_id=query.identifier("session"),
        evse_id=query.identifier("evse"),
        charge_point_id=query.identifier("charge_point"),
        containing=text("containing"),
        notification_id=notification_id,
    )
    given = {"tenant": tenant, **query.given}
    return LogFilter(scope, state == "pending", given, tuple(query.problems))


def _span(query: Query, now: datetime, *, is_whole: bool, notification_id: UUID | None) -> tuple[datetime, datetime]:
    """Return the time of a filter: by default the last hour, for failures the whole log, as of the command."""
    if notification_id is not None:
        received_at = made_at(notification_id)
        return received_at, received_at + timedelta(milliseconds=1)
    until = min(query.moment("to") or now, now + timedelta(days=1))
    since = query.moment("from") or (BEFORE_ANY if is_whole else until - DEFAULT_SPAN)
    if since >= until:
        query.problems.append("From is not before To: the hour before To is shown.")
        query.given.pop("from", None)
        since = until - DEFAULT_SPAN
    return max(since, BEFORE_ANY), max(until, BEFORE_ANY + DEFAULT_SPAN)
