"""What the watch over the tenants has found: subscriptions, silences, tokens and resends.

``status`` shows it as JSON and, by :mod:`receiver.watch_tables`, as tables; ``/metrics`` as gauges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import Connection

from ampeco.tenants import Tenant
from storage import resends, subscriptions, token_use, traffic
from storage.clock import clock
from storage.resends import Resend
from storage.subscriptions import ManagedSubscription
from storage.token_use import TokenUse
from storage.traffic import TrafficStatus

#: A token that nothing was signed with for so long, while another was used, is no longer needed.
UNUSED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Token:
    """A configured token, by its id.

    Attributes:
        is_api_token: the API is read with it, so it is needed whatever it signs.
        may_be_removed: it signed nothing for a day in which another token did.
    """

    tenant: str
    token_id: str
    is_api_token: bool
    known_since_at: datetime | None
    last_used_at: datetime | None
    may_be_removed: bool


@dataclass(frozen=True, slots=True)
class Watched:
    """What the watch has found of the configured tenants."""

    tenants: tuple[str, ...]
    managed: Sequence[ManagedSubscription]
    traffic_status: Sequence[TrafficStatus]
    tokens: Sequence[Token]
    resends: Sequence[Resend]

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "subscriptions": [asdict(subscription) for subscription in self.managed],
            "traffic": [asdict(one) for one in self.traffic_status],
            "signing_tokens": [asdict(token) for token in self.tokens],
            "resends": [asdict(one) for one in self.resends],
        }


def watched(connection: Connection, tenants: Mapping[str, Tenant], *, with_tokens: bool = True) -> Watched:
    """What the watch has found of these tenants.

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
    """The configured tokens of a tenant, that of the API first."""
    keys = [key.token_id for key in tenant.signing_keys()]
    known = {use.token_id: use for use in token_use.uses(connection, tenant.name, keys)}
    return [
        Token(
            tenant.name,
            token_id,
            position == 0,
            known[token_id].known_since_at,
            known[token_id].last_used_at,
            position > 0 and _is_unused(known[token_id], known.values()),
        )
        for position, token_id in enumerate(keys)
    ]


def _is_unused(use: TokenUse, others: Iterable[TokenUse]) -> bool:
    since = use.last_used_at or use.known_since_at
    return since is not None and any(
        other.last_used_at is not None and other.last_used_at > since + UNUSED for other in others
    )


def watch_gauges(found: Watched | None) -> list[GaugeMetricFamily]:
    """The gauges of the watch; without samples where nothing could be read."""
    sound = _gauge("ampeco_subscription_sound", "1 where the subscription that is ours was found as it should be")
    checked = _gauge("ampeco_subscription_check_age_seconds", "Time since it was last looked at, seconds")
    silent = _gauge("ampeco_tenant_traffic_gap", "1 where less comes than the tenant's own rhythm allows")
    heard = _gauge("ampeco_last_notification_age_seconds", "Time since the last notification came, seconds")
    waiting = _gauge("ampeco_resend_waiting", "1 where AMPECO is still to be asked for failed notifications")
    if found is not None:
        for tenant in found.tenants:
            managed = [subscription for subscription in found.managed if subscription.tenant == tenant]
            if managed:
                sound.add_metric([tenant], float(all(subscription.state == "sound" for subscription in managed)))
                checked.add_metric([tenant], max(seconds_since(subscription.checked_at) for subscription in managed))
            is_waiting = any(one.state == "waiting" for one in found.resends if one.tenant == tenant)
            waiting.add_metric([tenant], float(is_waiting))
        for one in found.traffic_status:
            if one.looked_at is not None:
                silent.add_metric([one.tenant], float(one.gap_since_at is not None))
            if one.last_received_at is not None:
                heard.add_metric([one.tenant], seconds_since(one.last_received_at))
    return [sound, checked, silent, heard, waiting]


def _gauge(name: str, description: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, description, labels=["tenant"])


def seconds_since(moment: datetime) -> float:
    """Return the seconds since a moment; none where it has yet to come."""
    return max((clock.now() - moment).total_seconds(), 0.0)
