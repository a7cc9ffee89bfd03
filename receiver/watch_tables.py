"""What the watch over the tenants has found, as tables and lines of ``status``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from receiver.terminal import age
from receiver.watching import Token, Watched, seconds_since
from storage.resends import Resend
from storage.subscriptions import ManagedSubscription
from storage.traffic import TrafficStatus
from workers.baseline import MIN_LEARNED_HOURS


def watch_table(found: Watched) -> Table:
    """A row for each tenant: its subscription, and whether it is heard."""
    table = Table(title="Watched", title_justify="left")
    for heading in ("Tenant", "Subscription", "Looked at", "Last mended"):
        table.add_column(heading, overflow="fold")
    table.add_column("Last notification", justify="right")
    table.add_column("Rhythm", overflow="fold")
    traffic_status = {one.tenant: one for one in found.traffic_status}
    for tenant in found.tenants:
        managed: list[ManagedSubscription | None] = [
            subscription for subscription in found.managed if subscription.tenant == tenant
        ]
        for subscription in managed or [None]:
            heard = traffic_status.get(tenant)
            table.add_row(
                tenant,
                _subscription(subscription),
                "–" if subscription is None else f"{age(seconds_since(subscription.checked_at))} ago",
                _repaired(subscription),
                "–" if heard is None or heard.last_received_at is None else f"{_ago(heard.last_received_at)}",
                _traffic(heard),
            )
    return table


def _subscription(subscription: ManagedSubscription | None) -> str:
    if subscription is None:
        return "not watched: made without `subscribe`"
    shown = {
        "sound": "sound",
        "wrong": f"[red]wrong[/]: {escape(subscription.finding or '')}",
        "unknown": f"[yellow]unknown[/]: {escape(subscription.error or '')}",
    }
    return f"{subscription.subscription_id} {shown[subscription.state]}"


def _repaired(subscription: ManagedSubscription | None) -> str:
    if subscription is None or subscription.repaired_at is None:
        return "–"
    return f"{_ago(subscription.repaired_at)}: {subscription.last_repair} ({subscription.repairs} in all)"


def _traffic(heard: TrafficStatus | None) -> str:
    if heard is None or heard.last_received_at is None:
        return "nothing came yet"
    if heard.gap_since_at is not None:
        told = f"{heard.received} of {heard.expected:,.0f} expected since" if heard.expected is not None else "since"
        return f"[red]silent[/]: {told} {heard.gap_since_at:%Y-%m-%d %H:%M}"
    if heard.learned_hours < MIN_LEARNED_HOURS:
        return f"learning: {heard.learned_hours // 24} of {MIN_LEARNED_HOURS // 24} days"
    if heard.min_expected is None:
        return "too irregular to judge"
    return "as usual" if heard.judged_hours is not None else "as usual: little is expected now"


def token_table(tokens: Sequence[Token]) -> Table:
    """When each token was last used, for tenants that have several."""
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


def resend_lines(found: Sequence[Resend]) -> list[str]:
    """The latest request of each subscription, in a sentence."""
    lines = []
    for one in found:
        what = f"{one.tenant}: failed notifications"
        if one.since_at is not None:
            what += f" since {one.since_at:%Y-%m-%d %H:%M}"
        error = "" if one.error is None else f"; {one.error}"
        ends = {
            "asked": f"asked for again at {one.tried_at or one.wanted_at:%Y-%m-%d %H:%M}",
            "waiting": f"will be asked for at {one.due_at:%Y-%m-%d %H:%M}{error}",
            "failed": f"could not be asked for{error}",
        }
        lines.append(f"{what} {ends[one.state]}.")
    return lines


def _ago(moment: datetime) -> str:
    return f"{age(seconds_since(moment))} ago"
