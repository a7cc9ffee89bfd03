"""Subscriptions: the tenant ends with exactly one for our callback URL, with the configured names.

``POST`` is not idempotent at AMPECO: each call adds a subscription, and every
notification then comes twice. So: list, compare, and only then write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ampeco.client import Client
from ampeco.resources import Subscription
from ampeco.tenants import Tenant


@dataclass(frozen=True, slots=True)
class Result:
    """What was done about a tenant's subscription.

    ``removed`` are the ids of further subscriptions for the same URL.
    """

    subscription_id: int
    action: Literal["created", "updated", "unchanged"]
    removed: tuple[int, ...] = ()


def callback_url(public_url: str, tenant: str) -> str:
    return f"{public_url.rstrip('/')}/notifications/{tenant}"


def ours(client: Client, url: str) -> list[Subscription]:
    """The tenant's subscriptions that call this URL, oldest first."""
    found = [one for one in client.subscriptions() if one.webhook is not None and one.webhook.callback_url == url]
    return sorted(found, key=lambda subscription: subscription.id)


def subscribe(client: Client, tenant: Tenant, url: str) -> Result:
    """Make sure that exactly one subscription calls ``url``, with the tenant's configured notifications.

    Raises:
        ampeco.errors.ApiError: AMPECO refused, or could not be reached.
    """
    existing = ours(client, url)
    if not existing:
        created = client.subscribe(url, tenant.notifications)
        return Result(created.id, "created")
    kept, *further = existing
    action: Literal["updated", "unchanged"] = "unchanged"
    if set(kept.notifications) != set(tenant.notifications):
        client.update_subscription(kept.id, url, tenant.notifications)
        action = "updated"
    for subscription in further:
        client.unsubscribe(subscription.id)
    return Result(kept.id, action, tuple(subscription.id for subscription in further))


def unsubscribe(client: Client, url: str) -> list[int]:
    """Remove every subscription that calls ``url``; returns their ids."""
    removed = [subscription.id for subscription in ours(client, url)]
    for subscription_id in removed:
        client.unsubscribe(subscription_id)
    return removed
