"""Which subscriptions at AMPECO are ours, and how the monitor last found them.

A row is a claim: ``subscribe`` makes it, ``unsubscribe`` takes it back, and nothing is ever made or
mended at AMPECO without one.
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

State = Literal["sound", "wrong", "unknown"]

#: A look that failed is tried again after this long, or after the interval where that is shorter.
TRY_AGAIN_AFTER = timedelta(minutes=2)

#: How often somebody who waits for the lock looks again.
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ManagedSubscription:
    """A subscription that is ours, and how it was last found."""

    tenant: str
    callback_url: str
    subscription_id: int
    managed_since_at: datetime
    checked_at: datetime
    state: State
    finding: str | None
    error: str | None
    repairs: int
    repaired_at: datetime | None
    last_repair: str | None


class SubscriptionLock:
    """The right to change a tenant's subscriptions: one process at a time has it.

    An open transaction holds it, so it ends with its process. Calls of the API take as long as they take, and what
    is noted between two of them is committed at once: in transactions of their own.
    """

    def __init__(self, engine: Engine, holder: Connection) -> None:
        self._engine = engine
        self._holder = holder

    def begin(self) -> contextlib.AbstractContextManager[Connection]:
        """Begin a transaction on a connection of its own."""
        return self._engine.begin()

    def prove(self) -> None:
        """Return if the lock is still ours: ask before a call that must not be made twice.

        Raises:
            sqlalchemy.exc.DBAPIError: the connection is lost, and the lock with it.
        """
        self._holder.execute(text("SELECT 1"))


@contextlib.contextmanager
def locked(engine: Engine, tenant: str, *, wait_seconds: float = 0) -> Iterator[SubscriptionLock | None]:
    """Hold the right to change a tenant's subscriptions; None where another process has it all the while.

    It takes a connection of the engine, and :meth:`SubscriptionLock.begin` another.
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
       checked_at = now(),
       state = 'sound',
       finding = NULL,
       error = NULL
""")


def manage(connection: Connection, tenant: str, callback_url: str, subscription_id: int) -> None:
    """Note a subscription as ours, and as sound, since it was just made so."""
    given = {"tenant": tenant, "callback_url": callback_url, "subscription_id": subscription_id}
    connection.execute(_MANAGE, given)


_RELEASE = text("DELETE FROM ingest.subscription WHERE tenant = :tenant AND callback_url = :callback_url")


def release(connection: Connection, tenant: str, callback_url: str) -> None:
    """Let go of a subscription: it is watched no longer."""
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
    """The subscriptions of these tenants that are ours, oldest first."""
    return [ManagedSubscription(*row) for row in connection.execute(_MANAGED, {"tenants": list(tenants)})]


# Index: primary key; there are few claims.
_DUE = text("""
SELECT DISTINCT tenant
  FROM ingest.subscription
 WHERE tenant = ANY(:tenants)
   AND checked_at < now() - CASE WHEN error IS NULL THEN :interval ELSE least(:interval, :again) END
 ORDER BY tenant
""")


def due(connection: Connection, tenants: Collection[str], interval: timedelta) -> Sequence[str]:
    """Those of the tenants that have a claim that was not looked at for so long."""
    given = {"tenants": list(tenants), "interval": interval, "again": TRY_AGAIN_AFTER}
    return connection.execute(_DUE, given).scalars().all()


# Index: primary key.
_NOTE = text("""
UPDATE ingest.subscription
   SET subscription_id = coalesce(:subscription_id, subscription_id),
       checked_at = now(),
       state = :state,
       finding = :finding,
       error = :error,
       repairs = repairs + CASE WHEN CAST(:repair AS text) IS NULL THEN 0 ELSE 1 END,
       repaired_at = CASE WHEN CAST(:repair AS text) IS NULL THEN repaired_at ELSE now() END,
       last_repair = coalesce(:repair, last_repair)
 WHERE tenant = :tenant
   AND callback_url = :callback_url
""")


def note(
    connection: Connection,
    subscription: ManagedSubscription,
    state: State,
    *,
    subscription_id: int | None = None,
    finding: str | None = None,
    repair: str | None = None,
    error: str | None = None,
) -> None:
    """Note how a subscription was found, and what was mended."""
    connection.execute(
        _NOTE,
        {
            "tenant": subscription.tenant,
            "callback_url": subscription.callback_url,
            "subscription_id": subscription_id,
            "state": state,
            "finding": finding,
            "repair": repair,
            "error": error,
        },
    )
