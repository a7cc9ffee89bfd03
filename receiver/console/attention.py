"""What needs attention now, each with the next step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from ampeco.tenants import Tenant
from receiver.admin.monitoring import Watched, watched
from receiver.console.rendering import duration, number
from storage.monitoring.processes import list_processes
from storage.reports.overview import TenantOverview, overview
from storage.sync.inaccessible_kinds import inaccessible_kinds
from workers.sync.kinds_read import kinds_read

Severity = Literal["bad", "warning"]

#: Open batches are older than this only if something is wrong.
LATE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that an operator should look at.

    Attributes:
        severity: how urgent it is.
        tenant: the tenant that it is about; None: the whole service.
        what: what is wrong, in one sentence.
        step: what to do about it.
        link: the page that shows more; None: there is none.
    """

    severity: Severity
    tenant: str | None
    what: str
    step: str
    link: str | None = None


def attention(connection: Connection, tenants: Mapping[str, Tenant]) -> list[Attention]:
    """Return everything that needs attention, the most urgent first."""
    found = [
        *_of_processes(connection),
        *(each for tenant in overview(connection, sorted(tenants)) for each in _of_overview(tenant)),
        *_of_monitoring(watched(connection, tenants, with_tokens=False)),
        *_of_kinds(connection, tenants),
    ]
    return sorted(found, key=lambda each: (each.severity != "bad", each.tenant or ""))


def _of_processes(connection: Connection) -> Iterator[Attention]:
    for process in list_processes(connection):
        if process.state == "lost":
            yield Attention(
                "bad",
                None,
                f"The process {process.name} on {process.host} was lost: it gives no sign of life.",
                "Its supervisor should have started another one; look at its log.",
            )
        elif process.is_alive and process.problem:
            yield Attention(
                "bad", None, f"{process.name} on {process.host} cannot work: {process.problem}.", "Repair the cause."
            )


def _of_overview(tenant: TenantOverview) -> Iterator[Attention]:
    name = tenant.tenant
    if (tenant.oldest_pending_seconds or 0) > LATE_SECONDS:
        reason = f": {tenant.pending_reason}" if tenant.pending_reason else ""
        yield Attention(
            "bad",
            name,
            f"{number(tenant.pending)} notifications wait, the oldest for"
            f" {duration(tenant.oldest_pending_seconds)}{reason}.",
            "Check that a process `work apply` runs and that Postgres has room.",
        )
    if tenant.failed:
        yield Attention(
            "bad",
            name,
            f"{number(tenant.failed)} notifications failed.",
            "Look at the causes, and replay them once a release can apply them.",
            f"/notifications?tenant={name}&state=failed",
        )
    if tenant.unknown_names:
        yield Attention(
            "warning",
            name,
            f"AMPECO sends {number(tenant.unknown_names)} types or fields that this release does not know.",
            "They are kept; an upgrade may use them.",
            f"/tenants?tenant={name}",
        )


def _of_monitoring(watch: Watched) -> Iterator[Attention]:
    for subscription in watch.managed:
        if subscription.state == "wrong":
            yield Attention(
                "bad",
                subscription.tenant,
                f"The subscription is not as configured: {subscription.finding}.",
                f"Run `ampeco-receiver subscribe --tenant {subscription.tenant}`.",
                f"/tenants?tenant={subscription.tenant}",
            )
        elif subscription.state == "unknown":
            yield Attention(
                "warning",
                subscription.tenant,
                f"The subscription could not be checked: {subscription.error}.",
                "It is checked again by itself; see whether AMPECO accepts the token.",
                f"/tenants?tenant={subscription.tenant}",
            )
    for status in watch.traffic_status:
        if status.gap_since_at is not None:
            yield Attention(
                "bad",
                status.tenant,
                f"The tenant has sent far less than usual since {status.gap_since_at:%Y-%m-%d %H:%M} UTC.",
                "Check the subscription, and whether AMPECO reaches the public URL.",
                f"/tenants?tenant={status.tenant}",
            )


def _of_kinds(connection: Connection, tenants: Mapping[str, Tenant]) -> Iterator[Attention]:
    for kind in inaccessible_kinds(connection, kinds_read(tenants)):
        if kind.reason == "forbidden":
            yield Attention(
                "warning",
                kind.tenant,
                f"The token may not read {kind.kind.replace('_', ' ')}.",
                "Grant the permission at AMPECO, or leave its group out of `mirror`.",
                f"/tenants?tenant={kind.tenant}",
            )
