"""Query what a verification compares: notifications in the log, stored entities, and unfinished work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from storage.ids import made_at


@dataclass(frozen=True, slots=True)
class Kept:
    """A notification in the log.

    Attributes:
        sha256: the digest of its body as it arrived, in hex.
        state: its state in ``ingest.notification_state``.
        reason: why it was ignored or failed; None if it was not.
    """

    sha256: str
    state: str
    reason: str | None


# Index: the primary key of ingest.notification, only in the partitions of the ids' times.
_KEPT = text("""
SELECT state.notification_id,
       encode(coalesce(notification.body_sha256, sha256(notification.body)), 'hex') AS sha256,
       state.state,
       state.reason
  FROM ingest.notification_state AS state
  JOIN ingest.notification
    ON notification.tenant = state.tenant
   AND notification.received_at = state.received_at
   AND notification.notification_id = state.notification_id
 WHERE state.tenant = :tenant
   AND state.received_at BETWEEN :first_received_at AND :last_received_at
   AND state.notification_id = ANY(:notification_ids)
""")


def kept(connection: Connection, tenant: str, notification_ids: Sequence[UUID]) -> dict[UUID, Kept]:
    """Return those of the notifications that are in the log, by id; pass a few thousand ids at a time."""
    if not notification_ids:
        return {}
    times = [made_at(notification_id) for notification_id in notification_ids]
    rows = connection.execute(
        _KEPT,
        {
            "tenant": tenant,
            "notification_ids": list(notification_ids),
            "first_received_at": min(times),
            "last_received_at": max(times),
        },
    )
    return {notification_id: Kept(*rest) for notification_id, *rest in rows}


# Index: refresh_request's primary key. Requests of gone entities do not count: they wait some minutes for their read,
# which normally changes nothing.
_UNREAD = text("SELECT count(*) FROM ingest.refresh_request WHERE tenant = :tenant AND reason <> 'gone'")

# Index: batch_open_idx.
_PENDING = text(
    "SELECT coalesce(sum(notifications), 0) FROM ingest.batch WHERE tenant = :tenant AND applied_at IS NULL"
)


def unfinished(connection: Connection, tenant: str) -> tuple[int, int]:
    """Return how many notifications of open batches there are, and how many refresh requests."""
    pending, unread = (
        connection.execute(statement, {"tenant": tenant}).scalar_one() for statement in (_PENDING, _UNREAD)
    )
    return int(pending), int(unread)


#: The columns to compare, by kind; the id comes first.
_SHOWN = {
    "session": "session_id, status, stopped_at, energy_wh, state_at",
    "evse": "evse_id, hardware_status",
    "charge_point": "charge_point_id, network_status",
}


def shown(connection: Connection, tenant: str, kind: str, *, since: datetime) -> dict[int, dict[str, Any]]:
    """Return the columns to compare of the entities of a kind that changed since a time and exist, by id.

    This reads all rows of the tenant, so it is only for tenants of a simulator's size.
    """
    statement = text(f"""
        SELECT {_SHOWN[kind]}
          FROM charging.{kind}
         WHERE tenant = :tenant
           AND updated_at >= :since
           AND deleted_at IS NULL
    """)  # noqa: S608 - the names are ours
    rows = connection.execute(statement, {"tenant": tenant, "since": since}).mappings()
    return {int(row[f"{kind}_id"]): dict(row) for row in rows}


# This reads all rows of the tenant; see shown().
_NEWEST = text("""
SELECT greatest(
       (SELECT max(state_at) FROM charging.session WHERE tenant = :tenant),
       (SELECT max(hardware_at) FROM charging.evse WHERE tenant = :tenant),
       (SELECT max(network_at) FROM charging.charge_point WHERE tenant = :tenant)),
       now()
""")


def newest_fact(connection: Connection, tenant: str) -> tuple[datetime | None, datetime]:
    """Return the time of a tenant's newest fact, None if there is none, and the present time of the database."""
    newest_at, now = connection.execute(_NEWEST, {"tenant": tenant}).one()
    return newest_at, now
