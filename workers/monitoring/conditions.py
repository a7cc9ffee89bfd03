"""The conditions of which people are alerted, as ``status`` and the metrics show them, too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta

import redis
from sqlalchemy import Connection

from analytics.findings.high import high_findings
from analytics.findings.rules import RULES
from storage.clock import clock
from storage.monitoring.alerts import WHOLE_SERVICE, Condition, Kind
from storage.monitoring.processes import ListedProcess, list_processes
from storage.monitoring.subscriptions import managed_subscriptions
from storage.monitoring.traffic import traffic_status
from storage.reports.overview import newly_failed, overview
from workers.api.pause import is_token_accepted

#: Failures count as new for this long: an incident ends when no notification has failed within the time.
NEW = timedelta(hours=1)

#: The age of the oldest open batch at which nothing is applied for too long. A failover and a restart take less.
MAX_PENDING = timedelta(minutes=5)

#: Findings open an incident until a day after the day on which they were first seen. So it does not matter when the
#: night's findings are looked at, and years of findings open none when alerts are first configured.
NEWS_DAYS = timedelta(days=1)


def conditions_of_tokens(client: redis.Redis, tenants: Collection[str]) -> Iterator[Condition]:
    """Yield the tenants that reject their token; until the next call, it is not known whether they still do.

    Raises:
        RedisError: Redis does not answer.
    """
    summary = "AMPECO rejects the API token (401), so nothing is read: replace the token."
    for tenant in tenants:
        is_accepted = is_token_accepted(client, tenant)
        if not is_accepted:
            yield Condition(tenant, "token_rejected", "", summary, opens=is_accepted is False)


def conditions(connection: Connection, tenants: Collection[str], kinds: Collection[Kind]) -> list[Condition]:
    """Return what Postgres shows of the watched kinds."""
    return [condition for kind, find in _FIND.items() if kind in kinds for condition in find(connection, tenants)]


def _traffic_gaps(connection: Connection, tenants: Collection[str]) -> Iterator[Condition]:
    for status in traffic_status(connection, tenants):
        if status.gap_since_at is not None:
            yield Condition(
                status.tenant,
                "traffic_gap",
                "",
                f"Far fewer notifications arrive than usual since {status.gap_since_at:%Y-%m-%d %H:%M} UTC: look at the"
                " subscription, the proxy, and AMPECO's list of failed notifications.",
            )


def _wrong_subscriptions(connection: Connection, tenants: Collection[str]) -> Iterator[Condition]:
    for subscription in managed_subscriptions(connection, tenants):
        if subscription.state != "sound":
            yield Condition(
                subscription.tenant,
                "subscription_wrong",
                subscription.callback_url,
                f"The subscription is not as configured: {subscription.finding or 'its check failed'}.",
                # A check that failed says nothing about the subscription.
                opens=subscription.state == "wrong",
            )


def _new_failures(connection: Connection, tenants: Collection[str]) -> Iterator[Condition]:
    for tenant, count in newly_failed(connection, NEW).items():
        if tenant in tenants:
            yield Condition(
                tenant,
                "notifications_failed",
                "",
                f"Notifications that failed within the last hour: {count:,}. `status` shows why, `replay --failed`"
                " applies them again.",
            )


def _not_applied(connection: Connection, tenants: Collection[str]) -> Iterator[Condition]:
    for counts in overview(connection, list(tenants)):
        if counts.tenant in tenants and (counts.oldest_pending_seconds or 0.0) > MAX_PENDING.total_seconds():
            # Only the error's name, because its text may quote what a server answered.
            reason = (counts.pending_reason or "").partition(":")[0]
            failed = f"the last attempt failed: {reason}" if reason else "no attempt at them has failed"
            yield Condition(
                counts.tenant,
                "not_applied",
                "",
                f"Notifications have waited for over {MAX_PENDING.seconds // 60} minutes to be applied; {failed}."
                " Look at `status` and the workers' log.",
            )


def _findings(connection: Connection, tenants: Collection[str]) -> Iterator[Condition]:
    """Yield the rules with open findings of high severity, by the day on which the findings were first seen."""
    first_day = (clock.now() - NEWS_DAYS).date()
    for found in high_findings(connection, tenants):
        rule = RULES[found.rule]
        yield Condition(
            found.tenant,
            "finding",
            f"{rule.name} {found.day}",
            f"{rule.meaning}: {found.count:,} first found on {found.day}. {rule.remedy}.",
            opens=found.day >= first_day,
        )


def _lost_processes(connection: Connection, _tenants: Collection[str]) -> Iterator[Condition]:
    """Yield the names of lost receivers, consumers and workers in whose place no other process was started."""
    by_name: defaultdict[str, list[ListedProcess]] = defaultdict(list)
    for process in list_processes(connection):
        if process.name in ("serve", "consume") or process.name.startswith("work "):  # others are commands
            by_name[process.name].append(process)
    for name, processes in by_name.items():
        lost = [process for process in processes if process.is_lost]
        first_lost_at = min((process.seen_at for process in lost), default=None)
        missing = len(lost) - sum(first_lost_at is not None and each.started_at > first_lost_at for each in processes)
        if missing > 0:
            hosts = ", ".join(sorted({process.host for process in lost}))
            yield Condition(
                WHOLE_SERVICE,
                "process_lost",
                name,
                f"{missing} of the processes `{name}` ended without stopping in order, on {hosts}, and no other one was"
                " started: look at the host and at the log.",
            )


_FIND: Mapping[Kind, Callable[[Connection, Collection[str]], Iterator[Condition]]] = {
    "traffic_gap": _traffic_gaps,
    "subscription_wrong": _wrong_subscriptions,
    "notifications_failed": _new_failures,
    "not_applied": _not_applied,
    "finding": _findings,
    "process_lost": _lost_processes,
}
