"""Resend: after an outage of ours, AMPECO is asked to send again what it could not deliver."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection

from ampeco.errors import ApiError, Conflict, RateLimited, Unauthorized, Unavailable
from storage import resends, subscriptions
from storage.clock import clock
from storage.resends import Resend, State
from storage.subscriptions import ManagedSubscription
from storage.uptime import Outage
from workers.backoff import pause_tenant
from workers.context import Context
from workers.logs import get_logger
from workers.metrics import RESENDS
from workers.pause import recovered
from workers.rate_limit import CallDeferredError

logger = get_logger(__name__)

#: What failed is asked for from so long before an outage on: a beat is a few seconds old when its
#: process dies, clocks differ, and what failed at first was told a moment before.
MARGIN = timedelta(minutes=5)

#: A request that AMPECO does not accept for so long is given up: by then reconciling has healed the
#: state, and a person should look.
GIVE_UP_AFTER = timedelta(days=1)


def request_after(connection: Connection, tenants: Collection[str], outage: Outage) -> int:
    """Want what failed during an outage, from each subscription that was ours by then; returns from how many."""
    managed = [
        subscription
        for subscription in subscriptions.managed_subscriptions(connection, tenants)
        if subscription.managed_since_at < outage.ended_at
    ]
    for subscription in managed:
        resends.request_resend(connection, subscription, "outage", outage.began_at - MARGIN)
    return len(managed)


def resend_due(context: Context) -> int:
    """Make the requests that are due, of every tenant; returns how many AMPECO accepted."""
    with context.engine.begin() as connection:
        waiting = resends.due(connection, context.tenants)
        managed = {
            (subscription.tenant, subscription.callback_url): subscription
            for subscription in subscriptions.managed_subscriptions(connection, context.tenants)
        }
    accepted = 0
    for tenant, url in waiting:
        outcome = ask(context, tenant, url, managed.get((tenant, url)))
        accepted += outcome is not None and outcome.state == "asked"
    return accepted


def ask(context: Context, tenant: str, url: str, subscription: ManagedSubscription | None) -> Resend | None:
    """Make the request that is due for a subscription; returns what came of it, None where none is due.

    The try is committed before the call, so that no process makes another one for 15 minutes.
    """
    with context.engine.begin() as connection:
        taken = resends.take(connection, tenant, url)
        if taken is not None and subscription is None:
            resends.settle(connection, taken, "failed", "the subscription is no longer ours")
            return None
    if taken is None or subscription is None:
        return None
    client = context.client(tenant, "subscription_monitor")
    since_at = taken.since_at and client.tenant_time(taken.since_at)
    try:
        client.resend(subscription.subscription_id, context.tenants[tenant].notifications, since_at)
    except CallDeferredError as held:
        with context.engine.begin() as connection:
            resends.put_back(connection, taken, timedelta(seconds=held.seconds))
        return replace(taken, due_at=clock.now() + timedelta(seconds=held.seconds), error=held.why)
    except ApiError as error:
        return _refused(context, taken, error)
    settled = _settle(context, taken, "asked", None)
    logger.info("failed notifications asked for again", **_labels(taken))
    recovered(context.redis, tenant)
    return settled


def _refused(context: Context, taken: Resend, error: ApiError) -> Resend:
    """Go on waiting after what passes; a conflict is somebody else's request, or a disabled subscription."""
    passes = isinstance(error, Conflict | RateLimited | Unauthorized | Unavailable)
    is_final = not passes or clock.now() - taken.wanted_at > GIVE_UP_AFTER
    settled = _settle(context, taken, "failed" if is_final else "waiting", str(error))
    logger.warning("AMPECO did not send again what failed", **_labels(taken), error=str(error), is_final=is_final)
    if isinstance(error, RateLimited | Unauthorized | Unavailable):
        pause_tenant(context, taken.tenant, error)
    return settled


def _settle(context: Context, taken: Resend, state: State, error: str | None) -> Resend:
    with context.engine.begin() as connection:
        resends.settle(connection, taken, state, error)
    RESENDS.labels(taken.tenant, state).inc()
    return replace(taken, state=state, error=error)


def _labels(taken: Resend) -> dict[str, object]:
    return {
        "tenant": taken.tenant,
        "callback_url": taken.callback_url,
        "reason": taken.reason,
        "since": taken.since_at and taken.since_at.isoformat(),
    }
