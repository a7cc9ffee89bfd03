"""Subscriptions: make sure that a tenant has exactly one for our callback URL, with the configured notifications.

``POST`` is not idempotent at AMPECO: each call adds a subscription, and every notification is then sent twice. So the
subscriptions are listed and compared before anything is written. Subscriptions with another callback URL belong to
other receivers, and are never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ampeco.api.client import Client
from ampeco.resources.charging import Subscription
from ampeco.tenants import Tenant
from storage.monitoring import subscriptions as store
from storage.monitoring.subscriptions import SubscriptionLock


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of checking the subscription for a callback URL.

    Attributes:
        kept: the subscription that stays; None if there is none.
        differs: its differences from the configuration, in words.
        further: the ids of other subscriptions for the same URL.
    """

    kept: Subscription | None
    differs: tuple[str, ...] = ()
    further: tuple[int, ...] = ()

    @property
    def wrong(self) -> tuple[str, ...]:
        """Everything that is wrong, in words; empty if the subscription is sound."""
        if self.kept is None:
            return ("it was not there",)
        copies = (f"{len(self.further)} more called the same address",) if self.further else ()
        return self.differs + copies


@dataclass(frozen=True, slots=True)
class Result:
    """The result of repairing a tenant's subscription.

    Attributes:
        subscription_id: its id at AMPECO.
        action: what was done.
        removed: the ids of other subscriptions for the same URL, which were removed.
        is_disabled: whether AMPECO still shows it as disabled.
    """

    subscription_id: int
    action: Literal["created", "updated", "unchanged"]
    removed: tuple[int, ...] = ()
    is_disabled: bool = False


def callback_url(public_url: str, tenant: str) -> str:
    """Return the URL to which AMPECO posts the notifications of a tenant."""
    return f"{public_url.rstrip('/')}/notifications/{tenant}"


def ours(client: Client, url: str, managed_id: int | None = None) -> list[Subscription]:
    """Return the tenant's subscriptions for this URL, in the order of :func:`_matching`."""
    return _matching(client.subscriptions(), url, managed_id)


def _matching(listed: Sequence[Subscription], url: str, managed_id: int | None) -> list[Subscription]:
    """Return the subscriptions for this URL: the managed one first, then by age.

    If there is none, the managed subscription is returned whatever its URL is: AMPECO may normalize a URL, and a person
    may have edited it.
    """
    matching = [each for each in listed if each.webhook is not None and each.webhook.callback_url == url]
    if not matching:
        return [subscription for subscription in listed if subscription.id == managed_id]
    return sorted(matching, key=lambda subscription: (subscription.id != managed_id, subscription.id))


def look(client: Client, tenant: Tenant, url: str, managed_id: int | None = None) -> Finding:
    """Compare the subscription at AMPECO with the configuration, without changing anything.

    Parameters:
        managed_id: the id of the managed subscription; None if there is none.

    Raises:
        ampeco.errors.ApiError: AMPECO rejected the call, or could not be reached.
    """
    return compare(client.subscriptions(), tenant, url, managed_id)


def compare(listed: Sequence[Subscription], tenant: Tenant, url: str, managed_id: int | None = None) -> Finding:
    """Compare the subscription for a callback URL with the configuration.

    Parameters:
        listed: all subscriptions of the tenant.
        managed_id: the id of the managed subscription; None if there is none.
    """
    existing = _matching(listed, url, managed_id)
    if not existing:
        return Finding(None)
    kept, *further = existing
    configured, subscribed = set(tenant.notifications), set(kept.notifications)
    differs = []
    if kept.webhook is None or kept.webhook.callback_url != url:
        differs.append("it called another address")
    if configured - subscribed:
        differs.append(f"it lacked {_join_names(configured - subscribed)}")
    if subscribed - configured and not tenant.keep_further_notifications:
        differs.append(f"it had {_join_names(subscribed - configured)} too many")
    if bool(kept.include_timestamp_in_signature) != tenant.include_timestamp_in_signature:
        signed = "did not sign" if tenant.include_timestamp_in_signature else "signed"
        differs.append(f"it {signed} the timestamp, too")
    if kept.is_disabled:
        differs.append("it was disabled")
    return Finding(kept, tuple(differs), tuple(subscription.id for subscription in further))


def repair(
    client: Client, tenant: Tenant, url: str, finding: Finding, *, before_create: Callable[[], None] | None = None
) -> Result:
    """Create the subscription, or change it back to the configuration, and remove others for the same URL.

    Parameters:
        before_create: called right before the only call that must not be made twice; it may raise an error.

    Raises:
        ampeco.errors.ApiError: AMPECO rejected a call, or could not be reached.
    """
    if finding.kept is None:
        if before_create is not None:
            before_create()
        return Result(client.subscribe(url, tenant.notifications, _options(tenant)).id, "created")
    kept = finding.kept
    if finding.differs:
        kept = client.update_subscription(kept.id, url, _wanted(tenant, kept), _options(tenant, kept))
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
        ampeco.errors.ApiError: AMPECO rejected a call, or could not be reached.
    """
    return repair(client, tenant, url, look(client, tenant, url, managed_id), before_create=before_create)


def replace(
    client: Client,
    tenant: Tenant,
    url: str,
    managed_id: int | None = None,
    *,
    created: Callable[[int], None],
    before_create: Callable[[], None] | None = None,
) -> Result:
    """Create a new subscription for ``url``, and then remove the older ones, so that no notification is missed.

    AMPECO signs the notifications of a subscription with the token that created it, so this moves them to a new token.
    Until the older ones are removed, notifications arrive twice, which changes nothing.

    Parameters:
        managed_id: the id of the managed subscription, which is replaced whatever its URL is; None if there is none.
        created: called with the id of the new subscription, before the older ones are removed.
        before_create: called right before the only call that must not be made twice; it may raise an error.

    Raises:
        ampeco.errors.ApiError: AMPECO rejected a call, or could not be reached.
    """
    present = ours(client, url, managed_id)
    newest = present[0] if present else None
    if before_create is not None:
        before_create()
    new = client.subscribe(url, _wanted(tenant, newest), _options(tenant, newest))
    created(new.id)
    older = tuple(subscription.id for subscription in present)
    for subscription_id in older:
        client.unsubscribe(subscription_id)
    return Result(new.id, "created", older)


def subscribe_and_manage(
    lock: SubscriptionLock, client: Client, tenant: Tenant, url: str, *, replace_existing: bool = False
) -> Result:
    """Make the subscription as configured, and record it as managed.

    Parameters:
        lock: the lock of the tenant's subscriptions.
        replace_existing: make a new subscription, then remove older ones.

    Raises:
        ampeco.errors.ApiError: AMPECO rejected a call, or could not be reached.
    """

    def manage(subscription_id: int) -> None:
        with lock.begin() as connection:
            store.manage(connection, tenant.name, url, subscription_id)

    current = find_managed_id(lock, tenant.name, url)
    if replace_existing:
        return replace(client, tenant, url, current, created=manage, before_create=lock.prove)
    result = subscribe(client, tenant, url, current, before_create=lock.prove)
    manage(result.subscription_id)
    return result


def find_managed_id(lock: SubscriptionLock, tenant: str, url: str) -> int | None:
    """Return the id of the managed subscription for a callback URL; None if there is none."""
    with lock.begin() as connection:
        managed = [
            subscription
            for subscription in store.managed_subscriptions(connection, [tenant])
            if subscription.callback_url == url
        ]
    return managed[0].subscription_id if managed else None


def unsubscribe(client: Client, url: str, managed_id: int | None = None) -> list[int]:
    """Remove every subscription that calls ``url``; return their ids."""
    removed = [subscription.id for subscription in ours(client, url, managed_id)]
    for subscription_id in removed:
        client.unsubscribe(subscription_id)
    return removed


def _wanted(tenant: Tenant, present: Subscription | None) -> tuple[str, ...]:
    """Return the notification types to subscribe to: the configured ones, and those that the tenant's setting keeps."""
    further = present.notifications if present is not None and tenant.keep_further_notifications else ()
    return tuple(dict.fromkeys((*tenant.notifications, *further)))


def _options(tenant: Tenant, present: Subscription | None = None) -> dict[str, Any]:
    """Return the options of a subscription: ours as configured, all others as they are.

    An option of ours is left out if it has its default, because an older release of AMPECO may not know it.
    """
    options = {} if present is None else present.options
    was_set = present is not None and present.include_timestamp_in_signature is not None
    if was_set or tenant.include_timestamp_in_signature:
        options["includeTimestampInSignature"] = tenant.include_timestamp_in_signature
    return options


def _join_names(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown) if len(shown) <= 3 else f"{', '.join(shown[:3])} and {len(shown) - 3} more"
