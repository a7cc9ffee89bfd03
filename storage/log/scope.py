"""What readers of the log share: which notifications they select, positions, and a notification with its state."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from uuid import UUID

from storage.inbox.batches import OutcomeState

#: The states of notifications of closed batches. Only these can be replayed.
ClosedState = Literal["applied", OutcomeState]

#: The states of notifications. One of an open batch is pending, unless it has an outcome already.
NotificationState = Literal["pending", ClosedState]

#: The search columns of the log.
SearchColumn = Literal["session_id", "evse_id", "charge_point_id"]

#: Kinds of entities with a search column.
SEARCH_COLUMNS: dict[str, SearchColumn] = {
    "session": "session_id",
    "evse": "evse_id",
    "charge_point": "charge_point_id",
}

#: Earlier than the beginning of any log.
BEFORE_ANY = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Scope:
    """A selection of one tenant's notifications. Of the attributes that are None, all values are selected.

    Attributes:
        tenant: the tenant's name.
        since: only notifications that were received at this time or later.
        until: only notifications that were received before this time.
        notification_type: only notifications of this type.
        state: only notifications in this state.
        reason: only notifications that were ignored or failed for this reason.
        session_id, evse_id, charge_point_id: only notifications whose bodies name this entity.
        containing: only notifications whose bodies contain this text; see :func:`written_forms`.
        notification_id: only this notification.
        closed_since: only notifications whose batch was closed at this time or later.
        is_claimed: notifications of open batches that a worker has claimed, instead of those of closed batches.
    """

    tenant: str
    since: datetime
    until: datetime
    notification_type: str | None = None
    state: ClosedState | None = None
    reason: str | None = None
    session_id: int | None = None
    evse_id: int | None = None
    charge_point_id: int | None = None
    containing: str | None = None
    notification_id: UUID | None = None
    closed_since: datetime | None = None
    is_claimed: bool = False


class Position(NamedTuple):
    """A position in the log: that of the last notification that was read."""

    received_at: datetime
    notification_id: UUID


def position_before(moment: datetime) -> Position:
    """Return the position before all notifications that were received at a time or later."""
    return Position(moment, UUID(int=0))


@dataclass(frozen=True, slots=True)
class LoggedNotification:
    """A notification of the log with its state, and without its body.

    Attributes:
        session_id, evse_id, charge_point_id: the entities that the body names.
        reason, error: why it was ignored or failed; None if it was not.
    """

    tenant: str
    received_at: datetime
    notification_id: UUID
    notification_type: str | None
    session_id: int | None
    evse_id: int | None
    charge_point_id: int | None
    state: NotificationState
    reason: str | None
    error: str | None

    @property
    def position(self) -> Position:
        """Its position in the log."""
        return Position(self.received_at, self.notification_id)


#: The condition for each attribute of a scope that is not None.
_CONDITIONS = {
    "notification_type": "notification.notification_type = :only_notification_type",
    "reason": "outcome.reason = :only_reason",
    "session_id": "notification.session_id = :only_session_id",
    "evse_id": "notification.evse_id = :only_evse_id",
    "charge_point_id": "notification.charge_point_id = :only_charge_point_id",
    "containing": """EXISTS (
       SELECT FROM unnest(CAST(:only_containing AS bytea[])) AS form
        WHERE position(form IN notification.body) > 0)""",
    "notification_id": "notification.notification_id = :only_notification_id",
    "closed_since": "batch.applied_at >= :only_closed_since",
}

# The state is written out, because the partial index of failures serves no parameter.
_STATE_CONDITIONS: dict[ClosedState, str] = {
    "failed": "outcome.state = 'failed'",
    "ignored": "outcome.state = 'ignored'",
    "applied": """NOT EXISTS (
       SELECT FROM ingest.outcome AS other
        WHERE other.tenant = notification.tenant
          AND other.notification_id = notification.notification_id)""",
}


def written_forms(value: str) -> list[bytes]:
    """Return the forms in which JSON may write a text: as it is, with escapes, and with those of slashes, too."""
    escaped = json.dumps(value)[1:-1]
    return sorted({value.encode(errors="replace"), escaped.encode(), escaped.replace("/", "\\/").encode()})


def conditions(scope: Scope) -> list[str]:
    """Return the conditions of a scope as SQL, without those of the tenant, of the time and of the batch's state."""
    selected = [condition for name, condition in _CONDITIONS.items() if getattr(scope, name) is not None]
    return selected + ([] if scope.state is None else [_STATE_CONDITIONS[scope.state]])


def condition_parameters(scope: Scope) -> dict[str, object]:
    """Return the parameters of :func:`conditions`, under names that no parameter of a statement has."""
    values = {f"only_{name}": value for name in _CONDITIONS if (value := getattr(scope, name)) is not None}
    return values | ({} if scope.containing is None else {"only_containing": written_forms(scope.containing)})
