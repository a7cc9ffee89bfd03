"""Search the log for people: the newest notifications first, a page at a time.

The log has indexes by time and by batch alone. So a search reads the notifications of its time from the newest on, of
failures those alone, and stops after :data:`MAX_READ` of them, or when its page is full. The next page continues where
it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, TextClause, text

from storage.log.scope import LoggedNotification, Position, Scope, condition_parameters, conditions, position_before

#: The most notifications that one page of a search reads. Their bodies are about 100 MB, in which Postgres finds a
#: text within a second.
MAX_READ = 50_000


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page of a search.

    Attributes:
        notifications: what was found, the newest first.
        next_before: where the next page begins; None if there is nothing more to read.
        is_full: whether the page ended because it was full, and not because enough was read.
    """

    notifications: Sequence[LoggedNotification]
    next_before: Position | None
    is_full: bool


_IN_TIME = """notification.tenant = :tenant
   AND notification.received_at >= :since
   AND notification.received_at < :until
   AND (notification.received_at, notification.notification_id) < (:before_at, :before_id)"""

_READ_TO = f"""
SELECT received_at
  FROM ingest.{{table}} AS notification
 WHERE {_IN_TIME}{{further}}
 ORDER BY received_at DESC, notification_id DESC
OFFSET :max_read
 LIMIT 1
"""  # noqa: S608 - the conditions are ours

# Index: the primary key of the log, from the end of the time.
_LOG_READ_TO = text(_READ_TO.format(table="notification", further=""))

# Index: outcome_failed_idx, from the end of the time.
_FAILURES_READ_TO = text(_READ_TO.format(table="outcome", further="\n   AND state = 'failed'"))

# Indexes: the primary key of the log, from the end of the time, and those of the batches and the outcomes; of failures
# outcome_failed_idx, which serves only a join on outcome.received_at. The view ingest.notification_state, from which
# `follow` reads the same columns, lacks that, so this statement has its own joins.
_SEARCH = """
SELECT notification.tenant,
       notification.received_at,
       notification.notification_id,
       notification.notification_type,
       notification.session_id,
       notification.evse_id,
       notification.charge_point_id,
       coalesce(outcome.state, CASE WHEN batch.applied_at IS NULL THEN 'pending' ELSE 'applied' END),
       outcome.reason,
       outcome.error
  FROM ingest.notification
  JOIN ingest.batch
    ON batch.tenant = notification.tenant
   AND batch.batch_id = notification.batch_id
  LEFT JOIN ingest.outcome
    ON outcome.tenant = notification.tenant
   AND outcome.received_at = notification.received_at
   AND outcome.notification_id = notification.notification_id
 WHERE {conditions}
 ORDER BY notification.received_at DESC, notification.notification_id DESC
 LIMIT :limit
"""


def search(
    connection: Connection, scope: Scope, *, is_pending: bool = False, before: Position | None, limit: int
) -> FoundPage:
    """Return the newest notifications of a scope, those of open batches included.

    Parameters:
        is_pending: only notifications of open batches that have no outcome.
        before: only notifications before this position.
        limit: the most notifications to return.
    """
    before_at, before_id = before or position_before(scope.until)
    parameters = {
        "tenant": scope.tenant,
        "since": scope.since,
        "until": scope.until,
        "before_at": before_at,
        "before_id": before_id,
        "max_read": MAX_READ,
        "limit": limit + 1,
        **condition_parameters(scope),
    }
    read_to: datetime | None = None
    if conditions(scope) or is_pending:
        statement = _FAILURES_READ_TO if scope.state == "failed" else _LOG_READ_TO
        read_to = connection.execute(statement, parameters).scalar()
    statement = _statement(scope, is_pending=is_pending)
    rows = connection.execute(statement, parameters | {"since": read_to or scope.since})
    found = [LoggedNotification(*row) for row in rows]
    if len(found) > limit:
        return FoundPage(found[:limit], found[limit - 1].position, is_full=True)
    return FoundPage(found, None if read_to is None else position_before(read_to), is_full=False)


def _statement(scope: Scope, *, is_pending: bool) -> TextClause:
    states = {"applied": ["batch.applied_at IS NOT NULL"], "failed": ["outcome.received_at >= :since"]}
    all_conditions = [_IN_TIME, *conditions(scope), *states.get(scope.state or "", [])]
    if is_pending:
        all_conditions += ["batch.applied_at IS NULL", "outcome.state IS NULL"]
    return text(_SEARCH.format(conditions="\n   AND ".join(all_conditions)))
