"""Read notifications from the log again, in the order in which they were received."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from storage.database import set_statement_timeout
from storage.inbox.batches import Logged
from storage.inbox.retention import complete_since
from storage.schema.entities import MIRRORS
from storage.state.changes import Entity

#: Counting a day of the log may take long, because no index contains the notification types.
COUNT_TIMEOUT = timedelta(minutes=10)

#: How much the tenant's clock, which gives the time of a read, may differ from ours, which gives the time of receipt.
CLOCK_DIFFERENCE = timedelta(minutes=5)


#: The states of notifications that can be replayed: those of closed batches.
State = Literal["applied", "ignored", "failed"]


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
        in_hand: notifications of open batches that a worker has claimed, instead of those of closed batches.
    """

    tenant: str
    since: datetime
    until: datetime
    notification_type: str | None = None
    state: State | None = None
    reason: str | None = None
    session_id: int | None = None
    evse_id: int | None = None
    charge_point_id: int | None = None
    containing: str | None = None
    notification_id: UUID | None = None
    closed_since: datetime | None = None
    in_hand: bool = False


class Position(NamedTuple):
    """A position in the log: that of the last notification that was read."""

    received_at: datetime
    notification_id: UUID


def beginning(scope: Scope) -> Position:
    """Return the position before the first notification of a scope."""
    return Position(scope.since, UUID(int=0))


# Indexes: the primary keys of the log, of the batches and of the outcomes; if only failures are selected,
# `outcome_failed_idx`. Notifications of open batches are left out, because workers apply them.
_SOURCE = """
  FROM ingest.notification
  JOIN ingest.batch
    ON batch.tenant = notification.tenant
   AND batch.batch_id = notification.batch_id
{outcome}
 WHERE notification.tenant = :tenant
   AND notification.received_at >= :since
   AND notification.received_at < :until
{conditions}
"""

_OUTCOME = """
  JOIN ingest.outcome
    ON outcome.tenant = notification.tenant
   AND outcome.received_at = notification.received_at
   AND outcome.notification_id = notification.notification_id
"""

# The state is written out, because the partial index of failures serves no parameter.
_OF_STATE = {
    "failed": "outcome.state = 'failed'",
    "ignored": "outcome.state = 'ignored'",
    "applied": """NOT EXISTS (
       SELECT FROM ingest.outcome AS other
        WHERE other.tenant = notification.tenant
          AND other.notification_id = notification.notification_id)""",
}

#: What each attribute of a scope demands of a notification, unless it is None.
_DEMANDS = {
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


def written_forms(value: str) -> list[bytes]:
    """Return the forms in which JSON may write a text: as it is, with escapes, and with those of slashes, too."""
    escaped = json.dumps(value)[1:-1]
    return sorted({value.encode(errors="replace"), escaped.encode(), escaped.replace("/", "\\/").encode()})


def demands(scope: Scope) -> list[str]:
    """Return the conditions of a scope as SQL, without those of the tenant, of the time and of the batch's state."""
    conditions = [demand for name, demand in _DEMANDS.items() if getattr(scope, name) is not None]
    return conditions + ([] if scope.state is None else [_OF_STATE[scope.state]])


def demanded(scope: Scope) -> dict[str, object]:
    """Return the parameters of :func:`demands`, under names that no parameter of a statement has."""
    values = {f"only_{name}": value for name in _DEMANDS if (value := getattr(scope, name)) is not None}
    return values | ({} if scope.containing is None else {"only_containing": written_forms(scope.containing)})


def _statement(template: str, scope: Scope) -> TextClause:
    """Return the statement of a template, with the tables and conditions of a scope in the place of ``{source}``."""
    conditions = ["batch.applied_at IS NOT NULL"]
    if scope.in_hand:
        conditions = ["batch.applied_at IS NULL", "batch.attempts > 0"]
    needs_outcome = scope.state in ("ignored", "failed") or scope.reason is not None
    source = _SOURCE.format(
        outcome=_OUTCOME if needs_outcome else "",
        conditions="\n".join(f"   AND {condition}" for condition in (*conditions, *demands(scope))),
    )
    return text(template.replace("{source}", source))


# Postgres knows the length of a body without reading it, so the page is limited before the bodies are read.
_PAGE = """
WITH listed AS (
    SELECT notification.tenant, notification.received_at, notification.notification_id
{source}       AND (notification.received_at, notification.notification_id) > (:received_at, :notification_id)
     ORDER BY notification.received_at, notification.notification_id
     LIMIT :limit
), sized AS (
    SELECT batch_id,
           notification_id,
           received_at,
           body,
           headers,
           sum(octet_length(body)) OVER (ORDER BY received_at, notification_id) - octet_length(body) AS bytes_before
      FROM listed
      JOIN ingest.notification USING (tenant, received_at, notification_id)
)
SELECT batch_id, notification_id, received_at, body, headers ->> 'X-Timestamp'
  FROM sized
 WHERE bytes_before < :max_bytes
 ORDER BY received_at, notification_id
"""


def page(connection: Connection, scope: Scope, after: Position, *, limit: int, max_bytes: int) -> list[Logged]:
    """Return the next notifications after a position; an empty list at the end.

    Parameters:
        limit: the most notifications to return.
        max_bytes: the page ends once bodies of this many bytes are in it.
    """
    rows = connection.execute(
        _statement(_PAGE, scope),
        {
            **_parameters(scope),
            # Postgres does not open partitions that are older than the position.
            "since": max(scope.since, after.received_at),
            "received_at": after.received_at,
            "notification_id": after.notification_id,
            "limit": limit,
            "max_bytes": max_bytes,
        },
    )
    return [Logged(*row) for row in rows]


# Index: the primary key of the log.
_BEGINS = text("""
SELECT min(received_at)
  FROM ingest.notification
 WHERE tenant = :tenant
   AND received_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
""")


def log_begins(connection: Connection, tenant: str, *, complete: bool = False) -> datetime | None:
    """Return when the oldest notification of a tenant in the log was received; None if there is none.

    Parameters:
        complete: skip the failed notifications of dropped days, so that the log is complete from that time on.
    """
    since = complete_since(connection) if complete else None
    begins: datetime | None = connection.execute(_BEGINS, {"tenant": tenant, "since": since}).scalar()
    return begins


# Index: the primary key of the batches; this reads all batches of the tenant.
_FIRST_OF_CLOSED = text("""
SELECT min(first_received_at)
  FROM ingest.batch
 WHERE tenant = :tenant
   AND applied_at >= :closed_since
""")


def first_of_closed(connection: Connection, tenant: str, closed_since: datetime) -> datetime | None:
    """Return when the oldest notification of the batches closed since a time was received; None if none was closed."""
    first: datetime | None = connection.execute(
        _FIRST_OF_CLOSED, {"tenant": tenant, "closed_since": closed_since}
    ).scalar()
    return first


_COUNT = "SELECT count(*){source}"


def count(connection: Connection, scope: Scope, *, timeout: timedelta = COUNT_TIMEOUT) -> int:
    """Return how many notifications a scope selects, counted day by day, so that no statement reads the whole log.

    Parameters:
        timeout: how long each statement may take.
    """
    set_statement_timeout(connection, timeout)
    begins = log_begins(connection, scope.tenant)
    if begins is None:
        return 0
    statement = _statement(_COUNT, scope)
    return sum(
        connection.execute(statement, {**_parameters(scope), "since": since, "until": until}).scalar_one()
        for since, until in _days(max(begins, scope.since), scope.until)
    )


def _days(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the parts of a time span, each of which lies in one UTC day."""
    while since < until:
        midnight = datetime(since.year, since.month, since.day, tzinfo=UTC) + timedelta(days=1)
        yield since, min(midnight, until)
        since = midnight


def _parameters(scope: Scope) -> dict[str, object]:
    return {"tenant": scope.tenant, "since": scope.since, "until": scope.until, **demanded(scope)}


# Index: primary keys. Rows are locked in one order, so that two replays of the same notifications do not wait for
# each other in a circle. If nothing is cleared, the row of totals is not locked.
_CLEAR = text("""
WITH locked AS (
    SELECT notification_id
      FROM ingest.outcome
     WHERE tenant = :tenant
       AND notification_id = ANY(:notification_ids)
     ORDER BY notification_id
       FOR UPDATE
), cleared AS (
    DELETE FROM ingest.outcome
     USING locked
     WHERE outcome.tenant = :tenant
       AND outcome.notification_id = locked.notification_id
    RETURNING state
), counted AS (
    SELECT count(*) AS outcomes,
           count(*) FILTER (WHERE state = 'ignored') AS ignored,
           count(*) FILTER (WHERE state = 'failed') AS failed
      FROM cleared
)
UPDATE ingest.total
   SET ignored = total.ignored - counted.ignored,
       failed = total.failed - counted.failed
  FROM counted
 WHERE total.tenant = :tenant
   AND counted.outcomes > 0
RETURNING counted.outcomes
""")


def clear_outcomes(connection: Connection, tenant: str, notification_ids: Sequence[UUID]) -> int:
    """Delete the outcomes of notifications that are now applied, and return how many there were."""
    if not notification_ids:
        return 0
    return connection.execute(_CLEAR, {"tenant": tenant, "notification_ids": list(notification_ids)}).scalar() or 0


def read_since(connection: Connection, tenant: str, asked_at: Mapping[Entity, datetime]) -> set[Entity]:
    """Return the entities that were read from the API after a notification that requests a read was received.

    Index: the primary key of each mirrored table.

    Parameters:
        asked_at: when the notification was received, by entity.
    """
    entities: set[Entity] = set()
    for kind in sorted({entity.kind for entity in asked_at}):
        mirror = MIRRORS[kind]
        times = {entity.entity_id: at for entity, at in asked_at.items() if entity.kind == kind}
        rows = connection.execute(
            text(f"""
                SELECT entity_id
                  FROM unnest(CAST(:ids AS bigint[]), CAST(:times AS timestamptz[])) AS asked (entity_id, asked_at)
                  JOIN charging.{mirror.name} AS known
                    ON {mirror.matches("known")}
                   AND known.{mirror.key} = asked.entity_id
                 WHERE known.presence_at > asked_at + :difference
            """),  # noqa: S608 - the names are ours
            {
                "tenant": tenant,
                "ids": list(times),
                "times": list(times.values()),
                "difference": CLOCK_DIFFERENCE,
            },
        )
        entities |= {Entity(kind, entity_id) for entity_id in rows.scalars()}
    return entities


def last_of(logged: Collection[Logged]) -> Position:
    """Return the position after a page, which must not be empty."""
    last = max(logged, key=lambda notification: (notification.received_at, notification.notification_id))
    return Position(last.received_at, last.notification_id)
