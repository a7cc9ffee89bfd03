"""What the watch over the tenants has found, as tables and lines of ``status``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from receiver.terminal import age
from receiver.watching import Token, Watched, seconds_since
from storage.arrivals import Listening
from storage.resends import Resend
from storage.subscriptions import Claim
from workers.rhythm import LEAST_LEARNED_HOURS


def watch_table(found: Watched) -> Table:
    """A row for each tenant: its subscription, and whether it is heard."""
    table = Table(title="Watched", title_justify="left")
    for heading in ("Tenant", "Subscription", "Looked at", "Last mended"):
        table.add_column(heading, overflow="fold")
    table.add_column("Last notification", justify="right")
    table.add_column("Rhythm", overflow="fold")
    listening = {one.tenant: one for one in found.listening}
    for tenant in found.tenants:
        claims: list[Claim | None] = [claim for claim in found.claims if claim.tenant == tenant]
        for claim in claims or [None]:
            heard = listening.get(tenant)
            table.add_row(
                tenant,
                _subscription(claim),
                "–" if claim is None else f"{age(seconds_since(claim.checked_at))} ago",
                _mended(claim),
                "–" if heard is None or heard.last_received_at is None else f"{_ago(heard.last_received_at)}",
                _rhythm(heard),
            )
    return table


def _subscription(claim: Claim | None) -> str:
    if claim is None:
        return "not watched: made without `subscribe`"
    shown = {
        "sound": "sound",
        "wrong": f"[red]wrong[/]: {escape(claim.finding or '')}",
        "unknown": f"[yellow]unknown[/]: {escape(claim.error or '')}",
    }
    return f"{claim.subscription_id} {shown[claim.state]}"


def _mended(claim: Claim | None) -> str:
    if claim is None or claim.repaired_at is None:
        return "–"
    return f"{_ago(claim.repaired_at)}: {claim.last_repair} ({claim.repairs} in all)"


def _rhythm(heard: Listening | None) -> str:
    if heard is None or heard.last_received_at is None:
        return "nothing came yet"
    if heard.silent_since_at is not None:
        told = f"{heard.came} of {heard.expected:,.0f} expected since" if heard.expected is not None else "since"
        return f"[red]silent[/]: {told} {heard.silent_since_at:%Y-%m-%d %H:%M}"
    if heard.learned_hours < LEAST_LEARNED_HOURS:
        return f"learning: {heard.learned_hours // 24} of {LEAST_LEARNED_HOURS // 24} days"
    if heard.telling is None:
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
