"""The tables and lines of ``status`` about subscriptions, traffic, tokens and resends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from receiver.admin.monitoring import Token, Watched, seconds_since
from receiver.terminal import age, styled
from storage.monitoring.resends import Resend
from storage.monitoring.subscriptions import ManagedSubscription
from storage.monitoring.traffic import TrafficStatus
from workers.monitoring.baseline import MIN_LEARNED_HOURS


def watch_table(watched: Watched) -> Table:
    """Return the table with a row for each tenant and managed subscription: its state, and the tenant's traffic."""
    table = Table(title="Subscriptions and traffic", title_justify="left")
    for heading in ("Tenant", "Subscription", "Checked", "Last repair"):
        table.add_column(heading, overflow="fold")
    table.add_column("Last notification", justify="right")
    table.add_column("Traffic", overflow="fold")
    traffic_status = {status.tenant: status for status in watched.traffic_status}
    for tenant in watched.tenants:
        managed: list[ManagedSubscription | None] = [
            subscription for subscription in watched.managed if subscription.tenant == tenant
        ]
        for subscription in managed or [None]:
            traffic = traffic_status.get(tenant)
            table.add_row(
                tenant,
                _subscription(subscription),
                "–" if subscription is None else f"{age(seconds_since(subscription.checked_at))} ago",
                _repaired(subscription),
                "–" if traffic is None or traffic.last_received_at is None else f"{_ago(traffic.last_received_at)}",
                _traffic(traffic),
            )
    return table


def _subscription(subscription: ManagedSubscription | None) -> str | Text:
    if subscription is None:
        return "none is managed: run `subscribe`"
    states = {
        "sound": Text("sound"),
        "wrong": styled("red", "wrong", f": {subscription.finding or ''}"),
        "unknown": styled("yellow", "unknown", f": {subscription.error or ''}"),
    }
    return Text(f"{subscription.subscription_id} ").append_text(states[subscription.state])


def _repaired(subscription: ManagedSubscription | None) -> str:
    if subscription is None or subscription.repaired_at is None:
        return "–"
    return f"{_ago(subscription.repaired_at)}: {subscription.last_repair} ({subscription.repairs} in all)"


def _traffic(traffic: TrafficStatus | None) -> str | Text:
    if traffic is None or traffic.last_received_at is None:
        return "no notifications yet"
    if traffic.gap_since_at is not None:
        since = f"since {traffic.gap_since_at:%Y-%m-%d %H:%M}"
        counts = "" if traffic.expected is None else f"{traffic.received} of {traffic.expected:,.0f} expected "
        return styled("red", "traffic gap", f": {counts}{since}")
    if traffic.learned_hours < MIN_LEARNED_HOURS:
        return f"learning: {traffic.learned_hours // 24} of {MIN_LEARNED_HOURS // 24} days"
    if traffic.min_expected is None:
        return "too irregular to judge"
    return "as usual" if traffic.judged_hours is not None else "as usual: little is expected now"


def token_table(tokens: Sequence[Token]) -> Table:
    """Return the table of the signing tokens of tenants that have several, with the last use of each."""
    table = Table(title="Signing tokens", title_justify="left")
    for heading in ("Tenant", "Token", "Used for", "Last verified", "Then"):
        table.add_column(heading, overflow="fold")
    several = {token.tenant for token in tokens if not token.is_api_token}
    for token in tokens:
        if token.tenant in several:
            table.add_row(
                token.tenant,
                token.token_id,
                "API, signatures" if token.is_api_token else "signatures",
                _last_used(token),
                "unused for more than a day: may be removed" if token.may_be_removed else "keep",
            )
    return table


def _last_used(token: Token) -> str:
    if token.last_used_at is not None:
        return _ago(token.last_used_at)
    if token.known_since_at is None:
        return "never"
    return f"never; known for {age(seconds_since(token.known_since_at))}"


def resend_lines(resends: Sequence[Resend]) -> list[str]:
    """Return a sentence for each resend request."""
    lines = []
    for resend in resends:
        what = f"{resend.tenant}: the resend of failed notifications"
        if resend.since_at is not None:
            what += f" since {resend.since_at:%Y-%m-%d %H:%M}"
        error = "" if resend.error is None else f"; {resend.error}"
        states = {
            "asked": f"was requested at {resend.tried_at or resend.wanted_at:%Y-%m-%d %H:%M}",
            "waiting": f"will be requested at {resend.due_at:%Y-%m-%d %H:%M}{error}",
            "failed": f"could not be requested{error}",
        }
        lines.append(f"{what} {states[resend.state]}.")
    return lines


def _ago(moment: datetime) -> str:
    return f"{age(seconds_since(moment))} ago"
