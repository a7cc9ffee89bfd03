"""Find the notifications that name an entity.

The log has no index of the entities that its notifications name, because it is written much more often than it is
searched. So a search is bounded: it reads the notifications of a tenant in the order of their receipt, and says how far
it has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from storage.inbox.batches import LoggedBody
from storage.log.scope import SEARCH_COLUMNS, Position


@dataclass(frozen=True, slots=True)
class NamingNotification:
    """A notification that names the entity.

    Attributes:
        outcome: ignored or failed; None: it was applied, or waits to be.
    """

    received_at: datetime
    notification_id: UUID
    notification_type: str | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class LogSearch:
    """The result of a search.

    Attributes:
        notifications: what was found, in the order of receipt.
        searched_until: the last notification that was looked at, if the search ended before its time did.
    """

    notifications: Sequence[NamingNotification]
    searched_until: Position | None


# Indexes: primary keys of the log and of the outcomes. The rows are read in the order of the log's key, so that the
# limit ends the scan.
_NAMING = """
SELECT scanned.received_at, scanned.notification_id, scanned.notification_type, outcome.state,
       scanned.{column} = :entity_id AS is_named, scanned.position
  FROM (SELECT received_at, notification_id, notification_type, {column},
               row_number() OVER (ORDER BY received_at, notification_id) AS position
          FROM ingest.notification
         WHERE tenant = :tenant
           AND received_at >= :since
           AND received_at < :until
           AND (received_at, notification_id) > (:since, :after_id)
         ORDER BY received_at, notification_id
         LIMIT :max_scanned) AS scanned
  LEFT JOIN ingest.outcome
    ON outcome.tenant = :tenant
   AND outcome.notification_id = scanned.notification_id
 WHERE scanned.{column} = :entity_id
    OR scanned.position = :max_scanned
 ORDER BY scanned.position
"""


def notifications_naming(
    connection: Connection,
    tenant: str,
    kind: str,
    entity_id: int,
    after: Position,
    until: datetime,
    *,
    max_scanned: int,
) -> LogSearch:
    """Return the notifications after a position and before a time that name an entity.

    Parameters:
        kind: a kind of ``SEARCH_COLUMNS``.
        max_scanned: how many notifications of the tenant are looked at.
    """
    rows = connection.execute(
        text(_NAMING.format(column=SEARCH_COLUMNS[kind])),
        {
            "tenant": tenant,
            "entity_id": entity_id,
            "since": after.received_at,
            "after_id": after.notification_id,
            "until": until,
            "max_scanned": max_scanned,
        },
    ).all()
    found = [NamingNotification(*row[:4]) for row in rows if row.is_named]
    is_cut = bool(rows) and rows[-1].position == max_scanned
    return LogSearch(found, Position(*rows[-1][:2]) if is_cut else None)


# Index: primary key of the log.
_BODIES = """
SELECT batch_id, notification_id, received_at, body, headers ->> 'X-Timestamp'
  FROM (SELECT batch_id, notification_id, received_at, body, headers, {column}
          FROM ingest.notification
         WHERE tenant = :tenant
           AND received_at >= :since
           AND received_at <= :until
         ORDER BY received_at {direction}, notification_id {direction}
         LIMIT :max_scanned) AS scanned
 WHERE {column} = :entity_id
 LIMIT :limit
"""


def bodies_naming(
    connection: Connection,
    tenant: str,
    kind: str,
    entity_id: int,
    since: datetime,
    until: datetime,
    *,
    latest_first: bool,
    max_scanned: int,
    limit: int,
) -> list[LoggedBody]:
    """Return notifications between two times that name an entity, with their bodies, from one end of the time.

    Parameters:
        kind: a kind of ``SEARCH_COLUMNS``.
        latest_first: whether the search begins at the later end.
        max_scanned: how many notifications of the tenant are looked at.
        limit: how many are returned.
    """
    statement = _BODIES.format(column=SEARCH_COLUMNS[kind], direction="DESC" if latest_first else "ASC")
    rows = connection.execute(
        text(statement),
        {
            "tenant": tenant,
            "entity_id": entity_id,
            "since": since,
            "until": until,
            "max_scanned": max_scanned,
            "limit": limit,
        },
    )
    return [LoggedBody(*row) for row in rows]
