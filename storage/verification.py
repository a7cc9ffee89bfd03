"""What proves that nothing was lost: the log by id, the states by entity, and what is still to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Kept:
    """A notification as the log has it; ``sha256`` is that of its body as it came, in hex."""

    sha256: str
    state: str
    reason: str | None


# Index: the primary key of ingest.notification, in the partitions of the ids' times alone.
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
    """Those of the notifications that the log has; ask for a few thousand at a time."""
    if not notification_ids:
        return {}
    times = [datetime.fromtimestamp((one.int >> 80) / 1000, UTC) for one in notification_ids]
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


# Index: refresh_request's primary key. A tombstoned entity that was spoken of again is looked
# at in some minutes; nothing is told of it until then.
_UNREAD = text("SELECT count(*) FROM ingest.refresh_request WHERE tenant = :tenant AND reason <> 'gone'")

# Index: batch_open_idx.
_UNSETTLED = text(
    "SELECT coalesce(sum(notifications), 0) FROM ingest.batch WHERE tenant = :tenant AND applied_at IS NULL"
)


def unfinished(connection: Connection, tenant: str) -> tuple[int, int]:
    """How many notifications are not settled, and how many entities wait to be read."""
    unsettled, unread = (connection.execute(one, {"tenant": tenant}).scalar_one() for one in (_UNSETTLED, _UNREAD))
    return int(unsettled), int(unread)


#: What is compared of each entity, by its table; the key comes first.
_SHOWN = {
    "session": "session_id, status, stopped_at, energy_wh, state_at",
    "evse": "evse_id, hardware_status",
    "charge_point": "charge_point_id, network_status",
}


def shown(connection: Connection, tenant: str, kind: str, *, since: datetime) -> dict[int, dict[str, Any]]:
    """The rows of a kind that changed since then and are not gone, by id.

    It reads the tenant's rows whole, and is for a tenant of a simulator's size.
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


# It reads the tenant's rows whole: see shown.
_NEWEST = text("""
SELECT greatest(
       (SELECT max(state_at) FROM charging.session WHERE tenant = :tenant),
       (SELECT max(hardware_at) FROM charging.evse WHERE tenant = :tenant),
       (SELECT max(network_at) FROM charging.charge_point WHERE tenant = :tenant)),
       now()
""")


def newest_fact(connection: Connection, tenant: str) -> tuple[datetime | None, datetime]:
    """The time of a tenant's newest fact, where there is one, and the time in the database."""
    newest_at, now = connection.execute(_NEWEST, {"tenant": tenant}).one()
    return newest_at, now
