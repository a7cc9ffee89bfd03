"""Resend: after an outage of the receiver, request that AMPECO send the undelivered notifications again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from ampeco.errors import ApiError, Conflict, RateLimited, Unauthorized, Unavailable
from runtime.logging import get_logger
from storage.clock import clock
from storage.monitoring import resends, subscriptions
from storage.monitoring.resends import Resend, ResendState
from storage.monitoring.subscriptions import ManagedSubscription
from workers.api.backoff import pause_tenant
from workers.api.context import Context
from workers.api.pause import recovered
from workers.api.rate_limit import CallDeferredError
from workers.metrics import RESENDS

logger = get_logger(__name__)

#: A request that AMPECO has not accepted for so long is given up: by then reconciling has healed the state, and a
#: person should look.
GIVE_UP_AFTER = timedelta(days=1)


def resend_due(context: Context) -> int:
    """Make the requests of all tenants that are due; return the number that AMPECO accepted."""
    with context.engine.begin() as connection:
        waiting = resends.due(connection, context.tenants)
        managed = {
            (subscription.tenant, subscription.callback_url): subscription
            for subscription in subscriptions.managed_subscriptions(connection, context.tenants)
        }
    accepted = 0
    for tenant, url in waiting:
        resend = ask(context, tenant, url, managed.get((tenant, url)))
        accepted += resend is not None and resend.state == "asked"
    return accepted


def ask(context: Context, tenant: str, url: str, subscription: ManagedSubscription | None) -> Resend | None:
    """Make the request that is due for a subscription; return its new state, or None if none is due.

    The attempt is committed before the call, so that no process makes another one for 15 minutes.
    """
    with context.engine.begin() as connection:
        resend = resends.take(connection, tenant, url)
        if resend is not None and subscription is None:
            resends.record_result(connection, resend, "failed", "the subscription is no longer managed")
            return None
    if resend is None or subscription is None:
        return None
    client = context.client(tenant, "subscription_monitor")
    since_at = resend.since_at and client.tenant_time(resend.since_at)
    try:
        client.resend(subscription.subscription_id, context.tenants[tenant].notifications, since_at)
    except CallDeferredError as deferred:
        with context.engine.begin() as connection:
            resends.put_back(connection, resend, timedelta(seconds=deferred.seconds))
        return replace(resend, due_at=clock.now() + timedelta(seconds=deferred.seconds), error=deferred.why)
    except ApiError as error:
        return _record_failure(context, resend, error)
    accepted = _set_state(context, resend, "asked", None)
    logger.info("resend requested", **_labels(resend))
    recovered(context.redis, tenant)
    return accepted


def _record_failure(context: Context, resend: Resend, error: ApiError) -> Resend:
    """Keep the request waiting if the error is temporary; a conflict is another request or a disabled subscription."""
    is_temporary = isinstance(error, Conflict | RateLimited | Unauthorized | Unavailable)
    is_final = not is_temporary or clock.now() - resend.wanted_at > GIVE_UP_AFTER
    updated = _set_state(context, resend, "failed" if is_final else "waiting", str(error))
    logger.warning("resend request failed", **_labels(resend), error=str(error), is_final=is_final)
    if isinstance(error, RateLimited | Unauthorized | Unavailable):
        pause_tenant(context, resend.tenant, error)
    return updated


def _set_state(context: Context, resend: Resend, state: ResendState, error: str | None) -> Resend:
    with context.engine.begin() as connection:
        resends.record_result(connection, resend, state, error)
    RESENDS.labels(resend.tenant, state).inc()
    return replace(resend, state=state, error=error)


def _labels(resend: Resend) -> dict[str, object]:
    return {
        "tenant": resend.tenant,
        "callback_url": resend.callback_url,
        "reason": resend.reason,
        "since": resend.since_at and resend.since_at.isoformat(),
    }
