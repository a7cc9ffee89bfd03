"""Record managed subscriptions, and the results of the subscription monitor.

``subscribe`` adds a row, and ``unsubscribe`` deletes it. The service changes only those subscriptions at AMPECO that
have a row.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, Engine, text

from storage.database import wait_in_transaction
from storage.locks import try_lock_subscriptions

SubscriptionState = Literal["sound", "wrong", "unknown"]

#: A failed check is repeated after this time, or after the normal interval if that is shorter.
TRY_AGAIN_AFTER = timedelta(minutes=2)

#: How often a process that waits for the lock tries again, in seconds.
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ManagedSubscription:
    """A managed subscription, and the result of its last check.

    Attributes:
        tenant: the tenant's name.
        callback_url: the URL that AMPECO calls.
        subscription_id: its id at AMPECO, as of the last check.
        managed_since_at: when ``subscribe`` made it.
        checked_at: when it was last checked, whether AMPECO answered or not.
        state: ``sound``, ``wrong`` (see ``finding``) or ``unknown`` (see ``error``).
        finding: what is wrong with it and was not repaired; None if nothing is.
        error: why the last check failed; None if it did not.
        repairs: how often it was repaired.
        repaired_at: when it was last repaired; None if it never was.
        last_repair: what was last repaired.
    """

    tenant: str
    callback_url: str
    subscription_id: int
    managed_since_at: datetime
    checked_at: datetime
    state: SubscriptionState
    finding: str | None
    error: str | None
    repairs: int
    repaired_at: datetime | None
    last_repair: str | None


class SubscriptionLock:
    """The lock for changes of a tenant's subscriptions, which one process at a time holds.

    An open transaction holds the lock, so it ends with its process. API calls during it may take long. So the
    results of each call are committed at once, in other transactions.
    """

    def __init__(self, engine: Engine, holder: Connection) -> None:
        self._engine = engine
        self._holder = holder

    def begin(self) -> contextlib.AbstractContextManager[Connection]:
        """Begin a transaction on a connection of its own."""
        return self._engine.begin()

    def prove(self) -> None:
        """Check that this process still holds the lock; call this before an API call that must not be made twice.

        Raises:
            sqlalchemy.exc.DBAPIError: the connection is lost, and with it the lock.
        """
        self._holder.execute(text("SELECT 1"))


@contextlib.contextmanager
def locked(engine: Engine, tenant: str, *, wait_seconds: float = 0) -> Iterator[SubscriptionLock | None]:
    """Hold the lock for changes of a tenant's subscriptions during the block.

    This uses one connection of the engine, and :meth:`SubscriptionLock.begin` uses another.

    Parameters:
        wait_seconds: how long to wait for another process that holds the lock.

    Yields:
        The lock; None if another process held it for all of this time.
    """
    deadline = time.monotonic() + wait_seconds
    with engine.connect() as holder:
        wait_in_transaction(holder)
        while not try_lock_subscriptions(holder, tenant):
            if time.monotonic() >= deadline:
                yield None
                return
            time.sleep(_POLL_SECONDS)
        yield SubscriptionLock(engine, holder)


_MANAGE = text("""
INSERT INTO ingest.subscription (tenant, callback_url, subscription_id, state)
VALUES (:tenant, :callback_url, :subscription_id, 'sound')
    ON CONFLICT (tenant, callback_url) DO UPDATE SET
       subscription_id = excluded.subscription_id,
       checked_at = excluded.checked_at,
       state = 'sound',
       finding = NULL,
       error = NULL
""")


def manage(connection: Connection, tenant: str, callback_url: str, subscription_id: int) -> None:
    """Record a subscription that was just made or replaced as managed and ``sound``."""
    parameters = {"tenant": tenant, "callback_url": callback_url, "subscription_id": subscription_id}
    connection.execute(_MANAGE, parameters)


_RELEASE = text("DELETE FROM ingest.subscription WHERE tenant = :tenant AND callback_url = :callback_url")


def release(connection: Connection, tenant: str, callback_url: str) -> None:
    """Record that a subscription is no longer managed."""
    connection.execute(_RELEASE, {"tenant": tenant, "callback_url": callback_url})


# Index: primary key.
_MANAGED = text("""
SELECT tenant, callback_url, subscription_id, managed_since_at, checked_at, state, finding, error,
       repairs, repaired_at, last_repair
  FROM ingest.subscription
 WHERE tenant = ANY(:tenants)
 ORDER BY tenant, managed_since_at, callback_url
""")


def managed_subscriptions(connection: Connection, tenants: Collection[str]) -> Sequence[ManagedSubscription]:
    """Return the managed subscriptions of tenants, by tenant, oldest first."""
    return [ManagedSubscription(*row) for row in connection.execute(_MANAGED, {"tenants": list(tenants)})]


# Index: primary key; there are few rows.
_DUE = text("""
SELECT DISTINCT tenant
  FROM ingest.subscription
 WHERE tenant = ANY(:tenants)
   AND checked_at < now() - CASE WHEN error IS NULL THEN :interval ELSE least(:interval, :again) END
 ORDER BY tenant
""")


def due(connection: Connection, tenants: Collection[str], interval: timedelta) -> Sequence[str]:
    """Return those of the tenants with a managed subscription that was last checked longer than ``interval`` ago."""
    parameters = {"tenants": list(tenants), "interval": interval, "again": TRY_AGAIN_AFTER}
    return connection.execute(_DUE, parameters).scalars().all()


# Index: primary key.
_NOTE = """
UPDATE ingest.subscription
   SET subscription_id = coalesce(:subscription_id, subscription_id),
       checked_at = now(),
       state = :state,
       finding = :finding,
       error = :error{repair}
 WHERE tenant = :tenant
   AND callback_url = :callback_url
"""

_CHECKED = text(_NOTE.format(repair=""))

_REPAIRED = text(
    _NOTE.format(repair=", repairs = repairs + 1, repaired_at = now(), last_repair = CAST(:repair AS text)")
)


def note(
    connection: Connection,
    subscription: ManagedSubscription,
    state: SubscriptionState,
    *,
    subscription_id: int | None = None,
    finding: str | None = None,
    repair: str | None = None,
    error: str | None = None,
) -> None:
    """Record the result of a check.

    Parameters:
        state: the new state.
        subscription_id: the id at AMPECO; None if it did not change.
        finding: what is wrong with the subscription and was not repaired.
        repair: what was repaired; None if nothing was.
        error: why the check failed.
    """
    connection.execute(
        _CHECKED if repair is None else _REPAIRED,
        {
            "tenant": subscription.tenant,
            "callback_url": subscription.callback_url,
            "subscription_id": subscription_id,
            "state": state,
            "finding": finding,
            "error": error,
            **({} if repair is None else {"repair": repair}),
        },
    )
