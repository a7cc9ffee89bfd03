"""The tables and lines of ``status``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from rich.markup import escape
from rich.table import Table

from receiver.terminal import age
from storage.forbidden_kinds import ForbiddenKind
from storage.overview import TenantOverview, Trouble
from storage.processes import ListedProcess
from storage.unknown_fields import UnknownName


def overview_table(tenants: Sequence[TenantOverview], pauses: dict[str, tuple[float, str]]) -> Table:
    """Notifications by state and the refresh backlog, a row a tenant."""
    table = Table(title="Notifications and reads", title_justify="left")
    table.add_column("Tenant", overflow="fold")
    for heading in ("Applied", "Pending", "Ignored", "Failed", "Oldest pending", "To read", "Due now", "In trouble"):
        table.add_column(heading, justify="right")
    table.add_column("API")
    for tenant in tenants:
        seconds, reason = pauses.get(tenant.tenant, (0.0, ""))
        paused = f"[yellow]paused {timedelta(seconds=round(seconds))}[/] {reason}" if seconds else "open"
        table.add_row(
            tenant.tenant,
            f"{tenant.applied:,}",
            f"{tenant.pending:,}",
            f"{tenant.ignored:,}",
            f"[red]{tenant.failed:,}[/]" if tenant.failed else "0",
            age(tenant.oldest_pending_seconds),
            f"{tenant.refresh_waiting:,}",
            f"{tenant.refresh_due:,}",
            f"[yellow]{tenant.refresh_troubled:,}[/]" if tenant.refresh_troubled else "0",
            paused,
        )
    return table


def pending_lines(tenants: Sequence[TenantOverview]) -> list[str]:
    """Return a sentence for each tenant whose notifications were tried in vain and wait."""
    return [
        f"{tenant.tenant}: {tenant.pending:,} notifications wait to be applied, the oldest for"
        f" {age(tenant.oldest_pending_seconds)}; the last attempt did not finish: {tenant.pending_reason}"
        for tenant in tenants
        if tenant.pending_reason is not None
    ]


def process_table(processes: Sequence[ListedProcess]) -> Table:
    """The processes of the last day: those that live, and those that went away without stopping in order."""
    table = Table(title="Processes", title_justify="left")
    for heading in ("Name", "Host"):
        table.add_column(heading, overflow="fold")
    table.add_column("Process", justify="right")
    for heading in ("Release", "Since", "Last seen"):
        table.add_column(heading)
    table.add_column("State", overflow="fold")
    for process in processes:
        if process.state == "stopped":
            continue
        states = {
            "working": "at work",
            "hindered": f"[yellow]hindered[/]: {escape(process.problem or '')}",
            "lost": "[red]went away[/]",
        }
        table.add_row(
            process.name,
            process.host,
            str(process.pid),
            process.version,
            f"{process.started_at:%Y-%m-%d %H:%M}",
            f"{age(process.seen_seconds_ago)} ago",
            states[process.state],
        )
    return table


def queue_table(lengths: dict[str, int]) -> Table:
    table = Table(title="Queues", title_justify="left")
    table.add_column("Queue")
    table.add_column("Messages", justify="right")
    for queue, length in lengths.items():
        table.add_row(queue, f"{length:,}")
    return table


def trouble_table(troubles: Sequence[Trouble]) -> Table:
    table = Table(title="Commonest troubles", title_justify="left")
    table.add_column("Tenant", overflow="fold")
    table.add_column("What")
    table.add_column("Why", overflow="fold")
    table.add_column("Count", justify="right")
    for trouble in troubles:
        table.add_row(trouble.tenant, trouble.what, trouble.reason, f"{trouble.count:,}")
    return table


def forbidden_table(forbidden_kinds: Sequence[ForbiddenKind]) -> Table:
    """What tokens may not read: an administrator of the tenant has to grant it."""
    table = Table(title="Refused by AMPECO (403)", title_justify="left")
    table.add_column("Tenant", overflow="fold")
    table.add_column("Kind")
    table.add_column("Reads waiting", justify="right")
    table.add_column("Since")
    table.add_column("Asked again at")
    table.add_column("Answer", overflow="fold")
    for forbidden in forbidden_kinds:
        table.add_row(
            forbidden.tenant,
            forbidden.kind,
            f"{forbidden.waiting:,}",
            f"{forbidden.first_refused_at:%Y-%m-%d %H:%M}",
            f"{forbidden.ask_again_at:%H:%M}",
            forbidden.error,
        )
    return table


def unknown_table(unknown: Sequence[UnknownName]) -> Table:
    """What AMPECO sends that this release does not know, or cannot read."""
    table = Table(title="Sent by AMPECO, and unknown to this release", title_justify="left")
    table.add_column("Tenant", overflow="fold")
    table.add_column("What", overflow="fold")
    table.add_column("Times", justify="right")
    for heading in ("First", "Last"):
        table.add_column(heading)
    table.add_column("Shape", overflow="fold")
    for one in unknown:
        what = f"type {one.name}" if one.what == "type" else f"{one.what} {one.model}.{one.name}"
        seen = (f"{at:%Y-%m-%d %H:%M}" for at in (one.first_seen_at, one.last_seen_at))
        table.add_row(one.tenant, what, f"{one.times:,}", *seen, one.shape or "–")
    return table
