"""The subscribers of a simulated tenant: which subscriptions exist, and what each of them gets."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ampeco.notifications.catalogue import lookup

#: The options of a subscription; all are off by default (AMPECO API, notifications v2.0).
OPTIONS = ("includeTimestampInSignature", "skipRoamingInfrastructure", "suppressSelfNotifications")


@dataclass(slots=True)
class Subscription:
    """A subscription; ``token`` created it and signs its notifications."""

    id: int
    callback_url: str
    notifications: list[str]
    token: str
    resent_at: datetime | None = None
    options: dict[str, bool] = field(default_factory=dict)

    def resource(self) -> dict[str, Any]:
        """Return the subscription as JSON (AMPECO API, notifications v2.0)."""
        return {
            "id": self.id,
            "via": "webhook",
            "notifications": self.notifications,
            "webhook": {"callbackUrl": self.callback_url},
            **self.options,
        }


class Subscribers:
    """The tenant's subscriptions; as at AMPECO, two equal calls create two subscriptions."""

    def __init__(self) -> None:
        self._ids = itertools.count(21)
        self.by_id: dict[int, Subscription] = {}

    def add(self, callback_url: str, notifications: list[str], token: str) -> Subscription:
        """Create a subscription."""
        subscription = Subscription(next(self._ids), callback_url, notifications, token)
        self.by_id[subscription.id] = subscription
        return subscription

    def wanting(self, name: str) -> list[Subscription]:
        """Return the subscriptions to a notification type."""
        return [subscription for subscription in self.by_id.values() if name in subscription.notifications]

    def recipients_of(self, name: str) -> list[Subscription]:
        """Return the subscriptions that get a notification of ``/control/emit``.

        A type that no subscription can list goes to all of them, because AMPECO adds types that older
        subscriptions do not list, and a receiver must accept them.
        """
        known = lookup(name)
        return self.wanting(name) if known is not None and known.subscribable else list(self.by_id.values())

    def holds(self, subscription: Subscription) -> bool:
        """Return whether a subscription still exists."""
        return self.by_id.get(subscription.id) is subscription

    def rotate(self, token: str) -> None:
        """Make every subscription sign with a new token."""
        for subscription in self.by_id.values():
            subscription.token = token
