"""What the watch over the tenants has found: subscriptions, silences, tokens and resends.

``status`` shows it as tables and as JSON, ``/metrics`` as gauges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Connection

from ampeco.tenants import Tenant
from receiver.console import age
from storage import arrivals, resends, subscriptions, token_use
from storage.arrivals import Listening
from storage.clock import clock
from storage.resends import Resend
from storage.subscriptions import Claim
from storage.token_use import TokenUse
from workers.rhythm import LEAST_LEARNED_HOURS

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
    claims: Sequence[Claim]
    listening: Sequence[Listening]
    tokens: Sequence[Token]
    resends: Sequence[Resend]

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "subscriptions": [asdict(claim) for claim in self.claims],
            "listening": [asdict(one) for one in self.listening],
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
        subscriptions.claims(connection, names),
        arrivals.listening(connection, names),
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
                "–" if claim is None else f"{age(_seconds_since(claim.checked_at))} ago",
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
    return f"never; known for {age(_seconds_since(token.known_since_at))}"


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


def watch_gauges(found: Watched | None) -> list[GaugeMetricFamily]:
    """The gauges of the watch; without samples where nothing could be read."""
    sound = _gauge("ampeco_subscription_sound", "1 where the subscription that is ours was found as it should be")
    checked = _gauge("ampeco_subscription_check_age_seconds", "Time since it was last looked at, seconds")
    silent = _gauge("ampeco_tenant_silent", "1 where less comes than the tenant's own rhythm allows")
    heard = _gauge("ampeco_last_notification_age_seconds", "Time since the last notification came, seconds")
    waiting = _gauge("ampeco_resend_waiting", "1 where AMPECO is still to be asked for failed notifications")
    if found is not None:
        for tenant in found.tenants:
            claims = [claim for claim in found.claims if claim.tenant == tenant]
            if claims:
                sound.add_metric([tenant], float(all(claim.state == "sound" for claim in claims)))
                checked.add_metric([tenant], max(_seconds_since(claim.checked_at) for claim in claims))
            is_waiting = any(one.state == "waiting" for one in found.resends if one.tenant == tenant)
            waiting.add_metric([tenant], float(is_waiting))
        for one in found.listening:
            if one.looked_at is not None:
                silent.add_metric([one.tenant], float(one.silent_since_at is not None))
            if one.last_received_at is not None:
                heard.add_metric([one.tenant], _seconds_since(one.last_received_at))
    return [sound, checked, silent, heard, waiting]


def _gauge(name: str, description: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, description, labels=["tenant"])


def _seconds_since(moment: datetime) -> float:
    return max((clock.now() - moment).total_seconds(), 0.0)


def _ago(moment: datetime) -> str:
    return f"{age(_seconds_since(moment))} ago"
