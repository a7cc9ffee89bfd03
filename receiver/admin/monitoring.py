"""The monitoring of the tenants: subscriptions, traffic, tokens and resends.

``status`` shows it as JSON and, by :mod:`receiver.commands.monitoring_tables`, as tables; ``/metrics`` shows it as
gauges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import Connection

from ampeco.tenants import Tenant
from storage.clock import clock
from storage.monitoring import resends, subscriptions, token_use, traffic
from storage.monitoring.resends import Resend
from storage.monitoring.subscriptions import ManagedSubscription
from storage.monitoring.token_use import TokenUse
from storage.monitoring.traffic import TrafficStatus

#: A token that signed nothing for so long while another token did is no longer needed.
UNUSED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Token:
    """A configured token, by its id.

    Attributes:
        is_api_token: whether API calls use it, so that it is needed even if it signs nothing.
        known_since_at: since when it is known; None if it is not.
        last_used_at: when it last verified a signature; None if it never did.
        may_be_removed: whether it signed nothing for a day in which another token did.
    """

    tenant: str
    token_id: str
    is_api_token: bool
    known_since_at: datetime | None
    last_used_at: datetime | None
    may_be_removed: bool


@dataclass(frozen=True, slots=True)
class Watched:
    """The monitoring of the configured tenants."""

    tenants: tuple[str, ...]
    managed: Sequence[ManagedSubscription]
    traffic_status: Sequence[TrafficStatus]
    tokens: Sequence[Token]
    resends: Sequence[Resend]

    def document(self) -> dict[str, Any]:
        """Return the document for ``--json``."""
        return {
            "subscriptions": [asdict(subscription) for subscription in self.managed],
            "traffic": [asdict(status) for status in self.traffic_status],
            "signing_tokens": [asdict(token) for token in self.tokens],
            "resends": [asdict(resend) for resend in self.resends],
        }


def watched(connection: Connection, tenants: Mapping[str, Tenant], *, with_tokens: bool = True) -> Watched:
    """Return the monitoring of these tenants.

    Parameters:
        with_tokens: whether to look up when each token was last used, which reads the log.
    """
    names = sorted(tenants)
    return Watched(
        tuple(names),
        subscriptions.managed_subscriptions(connection, names),
        traffic.traffic_status(connection, names),
        [token for name in names for token in _tokens(connection, tenants[name])] if with_tokens else [],
        resends.latest(connection, names),
    )


def _tokens(connection: Connection, tenant: Tenant) -> list[Token]:
    """Return the configured tokens of a tenant, first the token for API calls."""
    token_ids = [key.token_id for key in tenant.signing_keys()]
    uses = {use.token_id: use for use in token_use.uses(connection, tenant.name, token_ids)}
    return [
        Token(
            tenant.name,
            token_id,
            position == 0,
            uses[token_id].known_since_at,
            uses[token_id].last_used_at,
            position > 0 and _is_unused(uses[token_id], uses.values()),
        )
        for position, token_id in enumerate(token_ids)
    ]


def _is_unused(use: TokenUse, others: Iterable[TokenUse]) -> bool:
    since = use.last_used_at or use.known_since_at
    return since is not None and any(
        other.last_used_at is not None and other.last_used_at > since + UNUSED for other in others
    )


def watch_gauges(watched: Watched | None) -> list[GaugeMetricFamily]:
    """Return the gauges of the monitoring; without samples if it could not be read."""
    sound = _gauge("ampeco_subscription_sound", "1 if the managed subscription is as configured")
    checked = _gauge("ampeco_subscription_check_age_seconds", "Time since the subscription was last checked, seconds")
    gap = _gauge("ampeco_tenant_traffic_gap", "1 if the tenant sends far less than its baseline expects")
    received = _gauge("ampeco_last_notification_age_seconds", "Time since the last notification arrived, seconds")
    waiting = _gauge("ampeco_resend_waiting", "1 if a resend request to AMPECO waits")
    if watched is not None:
        for tenant in watched.tenants:
            managed = [subscription for subscription in watched.managed if subscription.tenant == tenant]
            if managed:
                sound.add_metric([tenant], float(all(subscription.state == "sound" for subscription in managed)))
                checked.add_metric([tenant], max(seconds_since(subscription.checked_at) for subscription in managed))
            is_waiting = any(resend.state == "waiting" for resend in watched.resends if resend.tenant == tenant)
            waiting.add_metric([tenant], float(is_waiting))
        for status in watched.traffic_status:
            if status.looked_at is not None:
                gap.add_metric([status.tenant], float(status.gap_since_at is not None))
            if status.last_received_at is not None:
                received.add_metric([status.tenant], seconds_since(status.last_received_at))
    return [sound, checked, gap, received, waiting]


def _gauge(name: str, description: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, description, labels=["tenant"])


def seconds_since(moment: datetime) -> float:
    """Return the seconds since a moment; 0 if it is in the future."""
    return max((clock.now() - moment).total_seconds(), 0.0)
