"""The filter of the pages about notifications: read from a URL or a form, and written to a URL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from urllib.parse import urlencode
from uuid import UUID

from ampeco.values import MAX_BIGINT
from receiver.commands.replay_line import BEFORE_ANY
from storage.ids import made_at
from storage.rebuild.log_reader import Scope
from storage.rebuild.log_search import State

#: The time that a search covers by default, because the whole log may be weeks.
DEFAULT_SPAN = timedelta(hours=1)

STATES: tuple[str, ...] = get_args(State)

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
    reading = _Reading(values)
    state = reading.value("state", "State", _one_of(STATES))
    notification_id = reading.value("id", "Id", _identifier)
    reason = reading.value("reason", "Cause", _text)
    since, until = _span(
        reading, now, is_whole=state == "failed" or reason is not None, notification_id=notification_id
    )
    scope = Scope(
        tenant,
        since,
        until,
        notification_type=reading.value("type", "Type", _text),
        state=None if state == "pending" else state,
        reason=reason,
        session_id=reading.value("session", "Session", _number),
        evse_id=reading.value("evse", "EVSE", _number),
        charge_point_id=reading.value("charge_point", "Charge point", _number),
        containing=reading.value("containing", "Text in the body", _text),
        notification_id=notification_id,
    )
    given = {"tenant": tenant, **reading.given}
    return LogFilter(scope, state == "pending", given, tuple(reading.problems))


def _span(
    reading: _Reading, now: datetime, *, is_whole: bool, notification_id: UUID | None
) -> tuple[datetime, datetime]:
    """Return the time of a filter: by default the last hour, for failures the whole log, as of the command."""
    if notification_id is not None:
        received_at = made_at(notification_id)
        return received_at, received_at + timedelta(milliseconds=1)
    until = min(reading.value("to", "To", _moment) or now, now + timedelta(days=1))
    since = reading.value("from", "From", _moment) or (BEFORE_ANY if is_whole else until - DEFAULT_SPAN)
    if since >= until:
        reading.problems.append("From is not before To: the hour before To is shown.")
        reading.given.pop("from", None)
        since = until - DEFAULT_SPAN
    return max(since, BEFORE_ANY), max(until, BEFORE_ANY + DEFAULT_SPAN)


@dataclass(slots=True)
class _Reading:
    """Reads values by name, and collects what was understood and what was not."""

    values: Mapping[str, Any]
    given: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def value(self, name: str, label: str, parse: Callable[[str], Any]) -> Any:
        """Return a parsed value; None if it is missing, empty or wrong."""
        written = str(self.values.get(name) or "").strip()
        if not written:
            return None
        try:
            value = parse(written)
        except (ValueError, OverflowError) as error:
            self.problems.append(f"{label} is left out: {error}.")
            return None
        self.given[name] = written
        return value


def _moment(written: str) -> datetime:
    try:
        moment = datetime.fromisoformat(written)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError("it is no time, such as 2026-03-01T12:30") from None


def _number(written: str) -> int:
    if not written.isascii() or not written.isdecimal() or len(written) > 19 or int(written) > MAX_BIGINT:
        raise ValueError("an id is a number")
    return int(written)


def _text(written: str) -> str:
    if "\0" in written or len(written) > MAX_TEXT:
        raise ValueError(f"it has at most {MAX_TEXT} characters, and none of them is NUL")
    return written


def _identifier(written: str) -> UUID:
    try:
        identifier = UUID(written)
        made_at(identifier)
    except (ValueError, OverflowError):
        raise ValueError("it is not the id of a notification") from None
    return identifier


def _one_of(names: Iterable[str]) -> Callable[[str], str]:
    def parse(written: str) -> str:
        if written not in names:
            raise ValueError(f"it is one of {', '.join(names)}")
        return written

    return parse
