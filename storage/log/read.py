"""Read notifications from the log again, in the order in which they were received."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, TextClause, text

from storage.database import set_statement_timeout
from storage.inbox.batches import LoggedBody
from storage.inbox.retention import complete_since
from storage.log.scope import Position, Scope, condition_parameters, conditions

#: Counting a day of the log may take long, because no index contains the notification types.
COUNT_TIMEOUT = timedelta(minutes=10)

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


def _statement(template: str, scope: Scope) -> TextClause:
    """Return the statement of a template, with the tables and conditions of a scope in the place of ``{source}``."""
    of_batch = ["batch.applied_at IS NOT NULL"]
    if scope.is_claimed:
        of_batch = ["batch.applied_at IS NULL", "batch.attempts > 0"]
    needs_outcome = scope.state in ("ignored", "failed") or scope.reason is not None
    source = _SOURCE.format(
        outcome=_OUTCOME if needs_outcome else "",
        conditions="\n".join(f"   AND {condition}" for condition in (*of_batch, *conditions(scope))),
    )
    return text(template.format(source=source))


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


def page(connection: Connection, scope: Scope, after: Position, *, limit: int, max_bytes: int) -> list[LoggedBody]:
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
    return [LoggedBody(*row) for row in rows]


def last_of(logged: Collection[LoggedBody]) -> Position:
    """Return the position after a page, which must not be empty."""
    last = max(logged, key=lambda notification: (notification.received_at, notification.notification_id))
    return Position(last.received_at, last.notification_id)


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
    return {"tenant": scope.tenant, "since": scope.since, "until": scope.until, **condition_parameters(scope)}
