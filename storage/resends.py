"""Which failed notifications AMPECO is to send again, and when it was asked.

AMPECO takes one request in 15 minutes for a subscription. The rows keep all processes to
that: a try is noted, and committed, before the call.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, text

from storage.ids import uuid7
from storage.subscriptions import ManagedSubscription

Reason = Literal["outage", "manual"]
State = Literal["waiting", "asked", "failed"]

#: How often AMPECO may be asked for one subscription (AMPECO API, resend); half a minute more, as
#: it counts from when it was reached.
INTERVAL = timedelta(minutes=15, seconds=30)


@dataclass(frozen=True, slots=True)
class Resend:
    """A request that AMPECO send again what failed since a time by our clock; None: all that it has kept."""

    tenant: str
    resend_id: UUID
    callback_url: str
    reason: Reason
    since_at: datetime | None
    state: State
    wanted_at: datetime
    due_at: datetime
    tried_at: datetime | None
    attempts: int
    error: str | None


_COLUMNS = "tenant, resend_id, callback_url, reason, since_at, state, wanted_at, due_at, tried_at, attempts, error"

# Index: resend_waiting_idx. A try that is being noted is waited for here: the statement that begins
# afterwards sees it, and so keeps its distance from it.
_LOCK_WAITING = text("""
SELECT
  FROM ingest.resend
 WHERE tenant = :tenant
   AND callback_url = :callback_url
   AND state = 'waiting'
   FOR UPDATE
""")

# Indexes: resend_waiting_idx; the primary key for the last try, of which a day has few.
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
    connection: Connection, subscription: ManagedSubscription, reason: Reason, since_at: datetime | None
) -> Resend:
    """Ask for a request; one that waits already goes as far back as this one."""
    given = {
        "tenant": subscription.tenant,
        "resend_id": uuid7(),
        "callback_url": subscription.callback_url,
        "reason": reason,
        "since_at": since_at,
        "interval": INTERVAL,
    }
    connection.execute(_LOCK_WAITING, given)
    return Resend(*connection.execute(_REQUEST, given).one())


# Index: resend_waiting_idx. Of two processes that try at once, the row lock lets one through.
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
    """Take the request that is due for a subscription, where one is; from now on it counts as tried."""
    given = {"tenant": tenant, "callback_url": callback_url, "interval": INTERVAL}
    row = connection.execute(_TAKE, given).first()
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
    """Give back a request that was taken, and of which AMPECO was never asked."""
    given = {"tenant": resend.tenant, "resend_id": resend.resend_id, "delay": delay}
    connection.execute(_PUT_BACK, given)


_SETTLE = text("""
UPDATE ingest.resend
   SET state = :state, error = :error
 WHERE tenant = :tenant
   AND resend_id = :resend_id
""")


def settle(connection: Connection, resend: Resend, state: State, error: str | None = None) -> None:
    """Note what came of a try; one that goes on waiting is tried again when it is due."""
    given = {"tenant": resend.tenant, "resend_id": resend.resend_id, "state": state, "error": error}
    connection.execute(_SETTLE, given)


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
    """The tenants and addresses of the requests that are due."""
    return [(tenant, url) for tenant, url in connection.execute(_DUE, {"tenants": list(tenants)})]


# Index: primary key; a request is made by an outage or by a person.
_LATEST = text(f"""
SELECT DISTINCT ON (tenant, callback_url) {_COLUMNS}
  FROM ingest.resend
 WHERE tenant = ANY(:tenants)
 ORDER BY tenant, callback_url, resend_id DESC
""")  # noqa: S608 - the names are ours


def latest(connection: Connection, tenants: Collection[str]) -> Sequence[Resend]:
    """The latest request of each subscription."""
    return [Resend(*row) for row in connection.execute(_LATEST, {"tenants": list(tenants)})]


_PRUNE = text("DELETE FROM ingest.resend WHERE state <> 'waiting' AND wanted_at < now() - :age")


def prune(connection: Connection, age: timedelta) -> None:
    """Drop requests that were settled and are older than ``age``."""
    connection.execute(_PRUNE, {"age": age})
