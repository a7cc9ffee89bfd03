"""Subscription monitor: each managed subscription exists, is the only one for its callback URL, and is as configured.

It changes only managed subscriptions (see :mod:`storage.monitoring.subscriptions`), and only those whose callback URL
belongs to this deployment. So a copy of the database in another deployment checks the subscriptions, but changes
nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ampeco.errors import ApiError, RateLimited, Unauthorized, Unavailable
from runtime.logging import get_logger
from storage.monitoring import subscriptions
from storage.monitoring.subscriptions import ManagedSubscription, SubscriptionLock, SubscriptionState
from workers.api.backoff import pause_tenant
from workers.api.context import Context
from workers.api.pause import recovered
from workers.api.rate_limit import CallDeferredError
from workers.metrics import SUBSCRIPTION_REPAIRS
from workers.monitoring.subscriptions import Finding, callback_url, look, repair

logger = get_logger(__name__)

#: At its start a process checks the subscriptions that no process has checked for this long, so processes that start
#: together check them once.
AT_START = timedelta(minutes=1)


class SubscriptionMonitor:
    """The subscription monitor of one process; any number of processes may have one.

    Parameters:
        public_url: the URL at which AMPECO reaches this deployment; None to check only, and repair nothing.
        interval: how often a subscription is checked.
    """

    def __init__(self, context: Context, *, public_url: str | None, interval: timedelta) -> None:
        self._context = context
        self._public_url = public_url
        self._interval = interval
        self._due_after = min(AT_START, interval)

    def run(self) -> int:
        """Check every subscription that is due; return their number."""
        with self._context.engine.begin() as connection:
            tenants = subscriptions.due(connection, self._context.tenants, self._due_after)
        checked = sum(self._check_tenant(tenant) for tenant in tenants)
        self._due_after = self._interval
        return checked

    def _check_tenant(self, tenant: str) -> int:
        with subscriptions.locked(self._context.engine, tenant) as lock:
            # Another process has the lock, or checked the tenant before we got it.
            if lock is None:
                return 0
            with lock.begin() as connection:
                if not subscriptions.due(connection, [tenant], self._due_after):
                    return 0
                managed = subscriptions.managed_subscriptions(connection, [tenant])
            for subscription in managed:
                self._check(lock, subscription)
            return len(managed)

    def _check(self, lock: SubscriptionLock, subscription: ManagedSubscription) -> None:
        tenant = self._context.tenants[subscription.tenant]
        client = self._context.client(subscription.tenant, "subscription_monitor")
        try:
            finding = look(client, tenant, subscription.callback_url, subscription.subscription_id)
            if not finding.wrong:
                _record_check(lock, subscription, "sound", subscription_id=_id(finding))
            elif not self._may_repair(subscription):
                self._report(lock, subscription, finding)
            else:
                self._repair(lock, subscription, finding)
        except CallDeferredError as deferred:
            _record_check(lock, subscription, "unknown", error=deferred.why)
        except ApiError as error:
            logger.warning("subscription could not be checked", **_labels(subscription), error=str(error))
            _record_check(lock, subscription, "unknown", error=str(error))
            if isinstance(error, RateLimited | Unauthorized | Unavailable):
                pause_tenant(self._context, subscription.tenant, error)
        else:
            recovered(self._context.redis, subscription.tenant)

    def _may_repair(self, subscription: ManagedSubscription) -> bool:
        return self._public_url is not None and subscription.callback_url == callback_url(
            self._public_url, subscription.tenant
        )

    def _report(self, lock: SubscriptionLock, subscription: ManagedSubscription, finding: Finding) -> None:
        wrong = "; ".join(finding.wrong)
        logger.warning("subscription is wrong, but not repaired here", **_labels(subscription), finding=wrong)
        recorded = f"{wrong}; not repaired, because RECEIVER_PUBLIC_URL does not lead to this address"
        _record_check(lock, subscription, "wrong", subscription_id=_id(finding), finding=recorded)

    def _repair(self, lock: SubscriptionLock, subscription: ManagedSubscription, finding: Finding) -> None:
        tenant = self._context.tenants[subscription.tenant]
        client = self._context.client(subscription.tenant, "subscription_monitor")
        result = repair(client, tenant, subscription.callback_url, finding, before_create=lock.prove)
        repaired = "; ".join(finding.wrong)
        SUBSCRIPTION_REPAIRS.labels(subscription.tenant).inc()
        logger.warning(
            "subscription repaired",
            **_labels(subscription),
            subscription_id=result.subscription_id,
            action=result.action,
            removed=list(result.removed),
            finding=repaired,
        )
        remaining = "it is still disabled at AMPECO: enable it in the back office" if result.is_disabled else None
        _record_check(
            lock,
            subscription,
            "wrong" if remaining else "sound",
            subscription_id=result.subscription_id,
            finding=remaining,
            repair=repaired,
        )


def _record_check(
    lock: SubscriptionLock, subscription: ManagedSubscription, state: SubscriptionState, **details: Any
) -> None:
    with lock.begin() as connection:
        subscriptions.note(connection, subscription, state, **details)


def _id(finding: Finding) -> int | None:
    return None if finding.kept is None else finding.kept.id


def _labels(subscription: ManagedSubscription) -> dict[str, object]:
    return {"tenant": subscription.tenant, "callback_url": subscription.callback_url}
