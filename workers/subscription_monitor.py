"""The monitor: what ``subscribe`` made at AMPECO is there, is alone, and is as configured.

It acts on what is claimed and on nothing else: see :mod:`storage.subscriptions`. It mends only what
this deployment's own address leads to, so a copy of the database, started elsewhere, looks and
leaves everything as it is.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ampeco.errors import ApiError, RateLimited, Unauthorized, Unavailable
from storage import subscriptions
from storage.subscriptions import ManagedSubscription, State, SubscriptionLock
from workers.backoff import pause_tenant
from workers.context import Context
from workers.logs import get_logger
from workers.metrics import SUBSCRIPTION_REPAIRS
from workers.pause import recovered
from workers.rate_limit import CallDeferredError
from workers.subscriptions import Finding, callback_url, look, repair

logger = get_logger(__name__)

#: At its start a process looks at what nobody has looked at for this long: processes that start
#: together look once.
AT_START = timedelta(minutes=1)


class SubscriptionMonitor:
    """One process's share of the watch; any number may stand side by side.

    Parameters:
        public_url: how AMPECO reaches this deployment; None: it looks, and mends nothing.
        interval: how often a subscription is looked at.
    """

    def __init__(self, context: Context, *, public_url: str | None, interval: timedelta) -> None:
        self._context = context
        self._public_url = public_url
        self._interval = interval
        self._due_after = min(AT_START, interval)

    def run(self) -> int:
        """Look at every subscription that is due; returns at how many."""
        with self._context.engine.begin() as connection:
            tenants = subscriptions.due(connection, self._context.tenants, self._due_after)
        looked = sum(self._tenant(tenant) for tenant in tenants)
        self._due_after = self._interval
        return looked

    def _tenant(self, tenant: str) -> int:
        with subscriptions.locked(self._context.engine, tenant) as lock:
            # Another process has it, or had it while we waited for our turn.
            if lock is None:
                return 0
            with lock.begin() as connection:
                if not subscriptions.due(connection, [tenant], self._due_after):
                    return 0
                managed = subscriptions.managed_subscriptions(connection, [tenant])
            for subscription in managed:
                self._look(lock, subscription)
            return len(managed)

    def _look(self, lock: SubscriptionLock, subscription: ManagedSubscription) -> None:
        tenant = self._context.tenants[subscription.tenant]
        client = self._context.client(subscription.tenant, "subscription_monitor")
        try:
            finding = look(client, tenant, subscription.callback_url, subscription.subscription_id)
            if not finding.wrong:
                _note(lock, subscription, "sound", subscription_id=_id(finding))
            elif not self._may_repair(subscription):
                self._leave(lock, subscription, finding)
            else:
                self._repair(lock, subscription, finding)
        except CallDeferredError as held:
            _note(lock, subscription, "unknown", error=held.why)
        except ApiError as error:
            logger.warning("subscription could not be checked", **_labels(subscription), error=str(error))
            _note(lock, subscription, "unknown", error=str(error))
            if isinstance(error, RateLimited | Unauthorized | Unavailable):
                pause_tenant(self._context, subscription.tenant, error)
        else:
            recovered(self._context.redis, subscription.tenant)

    def _may_repair(self, subscription: ManagedSubscription) -> bool:
        return self._public_url is not None and subscription.callback_url == callback_url(
            self._public_url, subscription.tenant
        )

    def _leave(self, lock: SubscriptionLock, subscription: ManagedSubscription, finding: Finding) -> None:
        wrong = "; ".join(finding.wrong)
        logger.warning("subscription is wrong, and not ours to mend here", **_labels(subscription), finding=wrong)
        told = f"{wrong}; not mended, as RECEIVER_PUBLIC_URL does not lead to this address"
        _note(lock, subscription, "wrong", subscription_id=_id(finding), finding=told)

    def _repair(self, lock: SubscriptionLock, subscription: ManagedSubscription, finding: Finding) -> None:
        tenant = self._context.tenants[subscription.tenant]
        client = self._context.client(subscription.tenant, "subscription_monitor")
        result = repair(client, tenant, subscription.callback_url, finding, before_create=lock.prove)
        repaired = "; ".join(finding.wrong)
        SUBSCRIPTION_REPAIRS.labels(subscription.tenant).inc()
        logger.warning(
            "subscription mended",
            **_labels(subscription),
            subscription_id=result.subscription_id,
            action=result.action,
            removed=list(result.removed),
            finding=repaired,
        )
        still = "AMPECO says that it is still disabled: enable it in the back office" if result.is_disabled else None
        _note(
            lock,
            subscription,
            "wrong" if still else "sound",
            subscription_id=result.subscription_id,
            finding=still,
            repair=repaired,
        )


def _note(lock: SubscriptionLock, subscription: ManagedSubscription, state: State, **details: Any) -> None:
    with lock.begin() as connection:
        subscriptions.note(connection, subscription, state, **details)


def _id(finding: Finding) -> int | None:
    return None if finding.kept is None else finding.kept.id


def _labels(subscription: ManagedSubscription) -> dict[str, object]:
    return {"tenant": subscription.tenant, "callback_url": subscription.callback_url}
