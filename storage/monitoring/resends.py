"""Queue resends: requests that AMPECO send failed notifications again.

AMPECO accepts one request in 15 minutes for a subscription. The rows make all processes together keep this limit:
each attempt is recorded, and committed, before the call.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, text

from storage.ids import uuid7
from storage.monitoring.subscriptions import ManagedSubscription, managed_subscriptions
from storage.monitoring.uptime import Outage
from storage.pruning import prune_table

ResendReason = Literal["outage", "manual"]
ResendState = Literal["waiting", "asked", "failed"]

#: The time between requests for one subscription (AMPECO API, resend). It is half a minute longer than AMPECO's
#: 15 minutes, which begin only when the request reaches AMPECO.
INTERVAL = timedelta(minutes=15, seconds=30)


#: A request covers this long before an outage, too: the last heartbeat is a few seconds old when its process dies,
#: clocks differ, and the first notification that failed happened a moment before.
MARGIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Resend:
    """A request that AMPECO send failed notifications again.

    Attributes:
        tenant: the tenant's name.
        resend_id: UUIDv7.
        callback_url: the callback URL of the subscription.
        reason: ``outage``, or ``manual`` for a command.
        since_at: resend notifications that failed at this time of our clock or later; None for all that AMPECO
            still has.
        state: ``waiting``, ``asked`` (AMPECO accepted the request) or ``failed``.
        wanted_at: when the resend was requested first.
        due_at: AMPECO must not be asked before.
        tried_at: when AMPECO was last asked; None if it never was.
        attempts: how often AMPECO was asked.
        error: why the last attempt did not succeed.
    """

    tenant: str
    resend_id: UUID
    callback_url: str
    reason: ResendReason
    since_at: datetime | None
    state: ResendState
    wanted_at: datetime
    due_at: datetime
    tried_at: datetime | None
    attempts: int
    error: str | None


_COLUMNS = "tenant, resend_id, callback_url, reason, since_at, state, wanted_at, due_at, tried_at, attempts, error"

# Index: resend_waiting_idx. This waits for a transaction that is recording an attempt, so that the next statement
# sees the attempt and keeps the interval.
_LOCK_WAITING = text("""
SELECT
  FROM ingest.resend
 WHERE tenant = :tenant
   AND callback_url = :callback_url
   AND state = 'waiting'
   FOR UPDATE
""")

# Indexes: resend_waiting_idx; for the last attempt the primary key, as a day has few rows.
_REQUEST = text(f"""
INSERT INTO ingest.resend AS waiting (tenant, resend_id, callback_url, reason, since_at, due_at)
SELECT :tenant, :resend_id, :callback_url, :reason, :since_at, greatest(now(), max(tried_at) + :interval)
  FROM ingest.resend
 WHERE tenant = :tenant
   AND callback_url = :callback_url
    ON CONFLICT (tenant, callback_url) WHERE state = 'waiting' DO UPDATE SET
       since_at = CASE WHEN waiting.since_at IS NOT NULL AND excluded.since_at IS NOT NULL
                       THEN least(waiting.since_at, excluded.since_at) END
RETURNING {_COLUMNS}
""")  # noqa: S608 - the names are ours


def request_resend(
    connection: Connection, subscription: ManagedSubscription, reason: ResendReason, since_at: datetime | None
) -> Resend:
    """Request a resend; extend a request that is already waiting, so that it goes back as far as this one.

    Parameters:
        since_at: resend notifications that failed at this time of our clock or later; None for all.
    """
    parameters = {
        "tenant": subscription.tenant,
        "resend_id": uuid7(),
        "callback_url": subscription.callback_url,
        "reason": reason,
        "since_at": since_at,
        "interval": INTERVAL,
    }
    connection.execute(_LOCK_WAITING, parameters)
    return Resend(*connection.execute(_REQUEST, parameters).one())


def request_after(connection: Connection, tenants: Collection[str], outage: Outage) -> int:
    """Request a resend after an outage for each subscription that was managed by then; return their number."""
    managed = [
        subscription
        for subscription in managed_subscriptions(connection, tenants)
        if subscription.managed_since_at < outage.ended_at
    ]
    for subscription in managed:
        request_resend(connection, subscription, "outage", outage.began_at - MARGIN)
    return len(managed)


# Index: resend_waiting_idx. Of two processes that try at the same time, the row lock lets one through.
_TAKE = text(f"""
UPDATE ingest.resend
   SET tried_at = now(),
       due_at = now() + :interval,
       attempts = attempts + 1
 WHERE tenant = :tenant
   AND callback_url = :callback_url
   AND state = 'waiting'
   AND due_at <= now()
RETURNING {_COLUMNS}
""")  # noqa: S608 - the names are ours


def take(connection: Connection, tenant: str, callback_url: str) -> Resend | None:
    """Take the request that is due for a subscription, and record the attempt; return None if none is due."""
    parameters = {"tenant": tenant, "callback_url": callback_url, "interval": INTERVAL}
    row = connection.execute(_TAKE, parameters).first()
    return None if row is None else Resend(*row)


# Index: primary key.
_PUT_BACK = text("""
UPDATE ingest.resend
   SET due_at = now() + :delay,
       tried_at = NULL,
       attempts = attempts - 1
 WHERE tenant = :tenant
   AND resend_id = :resend_id
""")


def put_back(connection: Connection, resend: Resend, delay: timedelta) -> None:
    """Give back a request that was taken but never sent to AMPECO, to be due again after ``delay``."""
    parameters = {"tenant": resend.tenant, "resend_id": resend.resend_id, "delay": delay}
    connection.execute(_PUT_BACK, parameters)


# Index: primary key. A request that was extended during the call still waits: AMPECO accepted less than it says.
_RECORD_RESULT = text("""
UPDATE ingest.resend
   SET state = CASE WHEN :state = 'asked' AND since_at IS DISTINCT FROM :since_at THEN 'waiting' ELSE :state END,
       error = :error
 WHERE tenant = :tenant
   AND resend_id = :resend_id
""")


def record_result(connection: Connection, resend: Resend, state: ResendState, error: str | None = None) -> None:
    """Record the result of an attempt; a request that stays ``waiting`` is tried again when it is due.

    So does one that was accepted, if it was extended after it was taken.
    """
    connection.execute(
        _RECORD_RESULT,
        {
            "tenant": resend.tenant,
            "resend_id": resend.resend_id,
            "state": state,
            "error": error,
            "since_at": resend.since_at,
        },
    )


# Index: resend_waiting_idx.
_DUE = text("""
SELECT tenant, callback_url
  FROM ingest.resend
 WHERE state = 'waiting'
   AND due_at <= now()
   AND tenant = ANY(:tenants)
 ORDER BY due_at
""")


def due(connection: Connection, tenants: Collection[str]) -> Sequence[tuple[str, str]]:
    """Return the tenants and callback URLs of the requests that are due."""
    return [(tenant, url) for tenant, url in connection.execute(_DUE, {"tenants": list(tenants)})]


# Index: primary key. There are few rows, because only an outage or a person requests a resend.
_LATEST = text(f"""
SELECT DISTINCT ON (tenant, callback_url) {_COLUMNS}
  FROM ingest.resend
 WHERE tenant = ANY(:tenants)
 ORDER BY tenant, callback_url, resend_id DESC
""")  # noqa: S608 - the names are ours


def latest(connection: Connection, tenants: Collection[str]) -> Sequence[Resend]:
    """Return the latest request of each subscription."""
    return [Resend(*row) for row in connection.execute(_LATEST, {"tenants": list(tenants)})]


def prune(connection: Connection, age: timedelta) -> None:
    """Delete requests that are no longer waiting and are older than ``age``."""
    prune_table(connection, "ingest.resend", "state <> 'waiting' AND wanted_at < now() - :age", age)
