"""The tables and lines of ``status``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from rich.table import Table
from rich.text import Text

from receiver.terminal import age, styled
from storage.monitoring.processes import ListedProcess
from storage.reports.overview import TenantOverview, Trouble
from storage.state.unknown_fields import UnknownName
from storage.sync.api_notices import DeprecatedEndpoint, Release
from storage.sync.inaccessible_kinds import InaccessibleKind
from workers.api.state import ApiState


def overview_table(tenants: Sequence[TenantOverview], api: ApiState | None) -> Table:
    """Return the table of notifications by state and requested reads, with a row for each tenant.

    Parameters:
        api: None if it is not known, because Redis fails.
    """
    table = Table(title="Notifications and reads", title_justify="left")
    table.add_column("Tenant", overflow="fold")
    for heading in (
        "Applied",
        "Pending",
        "Ignored",
        "Failed",
        "Oldest pending",
        "To read",
        "Due now",
        "Unresolved",
        "Calls today",
    ):
        table.add_column(heading, justify="right")
    table.add_column("API")
    for tenant in tenants:
        table.add_row(
            tenant.tenant,
            f"{tenant.applied:,}",
            f"{tenant.pending:,}",
            f"{tenant.ignored:,}",
            styled("red", f"{tenant.failed:,}") if tenant.failed else "0",
            age(tenant.oldest_pending_seconds),
            f"{tenant.refresh_waiting:,}",
            f"{tenant.refresh_due:,}",
            styled("yellow", f"{tenant.refresh_troubled:,}") if tenant.refresh_troubled else "0",
            *_api_cells(tenant.tenant, api),
        )
    return table


def _api_cells(tenant: str, api: ApiState | None) -> tuple[str, str | Text]:
    """Return the calls of today and whether the API is paused."""
    if api is None:
        return "unknown", styled("yellow", "unknown", ": Redis fails")
    seconds, reason = api.pauses.get(tenant, (0.0, ""))
    paused = styled("yellow", f"paused {timedelta(seconds=round(seconds))}", f" {reason}") if seconds else "open"
    return (f"{api.calls_today[tenant]:,}" if tenant in api.calls_today else ""), paused


def deprecated_lines(endpoints: Sequence[DeprecatedEndpoint]) -> list[str]:
    """Return a sentence for each endpoint that is called and that AMPECO will remove."""
    return [
        f"{endpoint.tenant}: AMPECO will remove {endpoint.endpoint}"
        + ("" if endpoint.sunset_at is None else f" on {endpoint.sunset_at:%Y-%m-%d}")
        + "; look for a later release of this service, or of the tenant."
        for endpoint in endpoints
    ]


def release_lines(releases: Sequence[Release]) -> list[str]:
    """Return a sentence for each tenant with its release of AMPECO."""
    return [f"{one.tenant} runs AMPECO {one.app_version} since {one.since_at:%Y-%m-%d} or earlier." for one in releases]


def pending_lines(tenants: Sequence[TenantOverview]) -> list[str]:
    """Return a sentence for each tenant with notifications that wait after an attempt that failed."""
    return [
        f"{tenant.tenant}: {tenant.pending:,} notifications wait to be applied, the oldest for"
        f" {age(tenant.oldest_pending_seconds)}; the last attempt did not finish: {tenant.pending_reason}"
        for tenant in tenants
        if tenant.pending_reason is not None
    ]


def process_table(processes: Sequence[ListedProcess]) -> Table:
    """Return the table of the processes of the last day, without those that stopped in order."""
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
            "working": Text("working"),
            "hindered": styled("yellow", "hindered", f": {process.problem or ''}"),
            "lost": styled("red", "lost"),
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
    """Return the table of the queues and their lengths."""
    table = Table(title="Queues", title_justify="left")
    table.add_column("Queue")
    table.add_column("Messages", justify="right")
    for queue, length in lengths.items():
        table.add_row(queue, f"{length:,}")
    return table


def trouble_table(troubles: Sequence[Trouble]) -> Table:
    """Return the table of the most frequent reasons for notifications and reads that failed."""
    table = Table(title="Most frequent failures", title_justify="left")
    table.add_column("Tenant", overflow="fold")
    table.add_column("What")
    table.add_column("Why", overflow="fold")
    table.add_column("Count", justify="right")
    for trouble in troubles:
        table.add_row(trouble.tenant, trouble.what, trouble.reason, f"{trouble.count:,}")
    return table


_REASONS = {"forbidden": "forbidden (403)", "not_offered": "not offered (404)"}


def inaccessible_table(inaccessible_kinds: Sequence[InaccessibleKind]) -> Table:
    """Return the table of kinds that cannot be read; an administrator of the tenant has to grant the permissions."""
    table = Table(title="Kinds that cannot be read", title_justify="left")
    table.add_column("Tenant", overflow="fold")
    table.add_column("Kind")
    table.add_column("Why")
    table.add_column("Reads waiting", justify="right")
    table.add_column("Since")
    table.add_column("Next try")
    table.add_column("Answer", overflow="fold")
    for kind in inaccessible_kinds:
        table.add_row(
            kind.tenant,
            kind.kind,
            _REASONS[kind.reason],
            f"{kind.waiting:,}",
            f"{kind.first_refused_at:%Y-%m-%d %H:%M}",
            f"{kind.ask_again_at:%H:%M}",
            kind.error,
        )
    return table


def unknown_table(unknown: Sequence[UnknownName]) -> Table:
    """Return the table of types and fields from AMPECO that this release does not know or cannot read."""
    table = Table(title="Unknown types and fields from AMPECO", title_justify="left")
    table.add_column("Tenant", overflow="fold")
    table.add_column("What", overflow="fold")
    table.add_column("Times", justify="right")
    for heading in ("First", "Last"):
        table.add_column(heading)
    table.add_column("Shape", overflow="fold")
    for name in unknown:
        what = f"type {name.name}" if name.what == "type" else f"{name.what} {name.model}.{name.name}"
        seen = (f"{at:%Y-%m-%d %H:%M}" for at in (name.first_seen_at, name.last_seen_at))
        table.add_row(name.tenant, what, f"{name.times:,}", *seen, name.shape or "–")
    return table
