"""Subscriptions: the tenant ends with exactly one for our callback URL, with the configured names.

``POST`` is not idempotent at AMPECO: each call adds a subscription, and every
notification then comes twice. So: list, compare, and only then write. Other people's
subscriptions are those that call another address: they are never touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ampeco.client import Client
from ampeco.resources import Subscription
from ampeco.tenants import Tenant


@dataclass(frozen=True, slots=True)
class Finding:
    """How the subscription for a callback URL was found.

    Attributes:
        kept: the one that stays; None where there is none.
        differs: in what it differs from what it should be, in words.
        further: the ids of others for the same URL.
    """

    kept: Subscription | None
    differs: tuple[str, ...] = ()
    further: tuple[int, ...] = ()

    @property
    def wrong(self) -> tuple[str, ...]:
        """All that is wrong, in words; empty where it is sound."""
        if self.kept is None:
            return ("it was not there",)
        copies = (f"{len(self.further)} more called the same address",) if self.further else ()
        return self.differs + copies


@dataclass(frozen=True, slots=True)
class Result:
    """What was done about a tenant's subscription.

    ``removed`` are the ids of further subscriptions for the same URL. ``is_disabled`` where AMPECO says
    that it is, even so.
    """

    subscription_id: int
    action: Literal["created", "updated", "unchanged"]
    removed: tuple[int, ...] = ()
    is_disabled: bool = False


def callback_url(public_url: str, tenant: str) -> str:
    return f"{public_url.rstrip('/')}/notifications/{tenant}"


def ours(client: Client, url: str, managed_id: int | None = None) -> list[Subscription]:
    """The tenant's subscriptions that call this URL: the claimed one first, then by age.

    Where none does, the claimed one is ours whatever it calls: AMPECO may spell an address in its own
    way, and somebody may have edited it.
    """
    listed = client.subscriptions()
    found = [one for one in listed if one.webhook is not None and one.webhook.callback_url == url]
    if not found:
        return [one for one in listed if one.id == managed_id]
    return sorted(found, key=lambda one: (one.id != managed_id, one.id))


def look(client: Client, tenant: Tenant, url: str, managed_id: int | None = None) -> Finding:
    """Compare what AMPECO has with what should be; nothing is changed.

    Parameters:
        claimed_id: the subscription that is known to be ours.

    Raises:
        ampeco.errors.ApiError: AMPECO refused, or could not be reached.
    """
    existing = ours(client, url, managed_id)
    if not existing:
        return Finding(None)
    kept, *further = existing
    wanted, found = set(tenant.notifications), set(kept.notifications)
    differs = []
    if kept.webhook is None or kept.webhook.callback_url != url:
        differs.append("it called another address")
    if wanted - found:
        differs.append(f"it lacked {_listed(wanted - found)}")
    if found - wanted:
        differs.append(f"it had {_listed(found - wanted)} too many")
    if kept.is_disabled:
        differs.append("it was disabled")
    return Finding(kept, tuple(differs), tuple(one.id for one in further))


def repair(
    client: Client, tenant: Tenant, url: str, finding: Finding, *, before_create: Callable[[], None] | None = None
) -> Result:
    """Make the subscription what it should be.

    Parameters:
        before_create: called right before the one call that must not be made twice; it may raise.

    Raises:
        ampeco.errors.ApiError: AMPECO refused, or could not be reached.
    """
    if finding.kept is None:
        if before_create is not None:
            before_create()
        return Result(client.subscribe(url, tenant.notifications).id, "created")
    kept = finding.kept
    if finding.differs:
        kept = client.update_subscription(kept.id, url, tenant.notifications)
    for subscription_id in finding.further:
        client.unsubscribe(subscription_id)
    return Result(kept.id, "updated" if finding.differs else "unchanged", finding.further, kept.is_disabled)


def subscribe(
    client: Client,
    tenant: Tenant,
    url: str,
    managed_id: int | None = None,
    *,
    before_create: Callable[[], None] | None = None,
) -> Result:
    """Make sure that exactly one subscription calls ``url``, with the tenant's configured notifications.

    Raises:
        ampeco.errors.ApiError: AMPECO refused, or could not be reached.
    """
    return repair(client, tenant, url, look(client, tenant, url, managed_id), before_create=before_create)


def replace(client: Client, tenant: Tenant, url: str, *, created: Callable[[int], None]) -> Result:
    """Make a new subscription for ``url``, and then remove the older ones: nothing is missed in between.

    AMPECO keys a subscription's signatures with the token that made it, so this is how it comes to a
    new token. Meanwhile notifications come twice, which changes nothing.

    Parameters:
        created: called with the new one's id, before the older ones are removed.

    Raises:
        ampeco.errors.ApiError: AMPECO refused, or could not be reached.
    """
    older = tuple(one.id for one in ours(client, url))
    new = client.subscribe(url, tenant.notifications)
    created(new.id)
    for subscription_id in older:
        client.unsubscribe(subscription_id)
    return Result(new.id, "created", older)


def unsubscribe(client: Client, url: str, managed_id: int | None = None) -> list[int]:
    """Remove every subscription that calls ``url``; returns their ids."""
    removed = [subscription.id for subscription in ours(client, url, managed_id)]
    for subscription_id in removed:
        client.unsubscribe(subscription_id)
    return removed


def _listed(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown) if len(shown) <= 3 else f"{', '.join(shown[:3])} and {len(shown) - 3} more"
