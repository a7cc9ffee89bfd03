"""The page *Now*: what the service does at this moment, and over the last day and week."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ampeco.tenants import Tenant
from receiver.console.attention import attention
from receiver.console.charts import Chart, Series
from receiver.console.console import Console
from storage.clock import clock
from storage.monitoring.minutes import Minute, minutes
from storage.reports.activity import activity
from storage.sync.api_usage import spent_today

#: The spans that charts offer, by their name in the URL.
SPANS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}

#: Most points of a line; more are summed up, because no screen shows more.
MAX_POINTS = 720


async def show(request: Request) -> Response:
    """Show the page."""
    console = Console.of(request)
    tenant = console.tenant_of(request)
    span = request.query_params.get("span", "hour")
    during = SPANS.get(span, SPANS["hour"])

    def query(connection: Connection) -> dict[str, Any]:
        return {
            **live(connection, console.settings.tenants),
            "charts": charts(minutes(connection, tenant, during), during),
        }

    values = await console.read(query)
    return console.page(request, "now.html", tenant=tenant, span=span, spans=list(SPANS), failure=None, **values)


def live(connection: Connection, tenants: Mapping[str, Tenant]) -> dict[str, Any]:
    """Return what the page shows live."""
    spent = spent_today(connection, sorted(tenants))
    return {
        "activities": activity(connection, tenants),
        "attention": attention(connection, tenants),
        "calls_made": {tenant: sum(calls.made for calls in by_reason.values()) for tenant, by_reason in spent.items()},
    }


def charts(shown: Sequence[Minute], during: timedelta) -> list[Chart]:
    """Return the charts of the minutes in the last ``during``: what was received, how long it took, and what waited."""
    until = clock.now()
    since = until - during
    step = max(1, -(-len(shown) // MAX_POINTS))
    groups = [shown[start : start + step] for start in range(0, len(shown), step)]
    times = [group[0].minute_at for group in groups]

    def highest(name: str, scale: float = 1.0) -> list[float | None]:
        values = [[value for each in group if (value := getattr(each, name)) is not None] for group in groups]
        return [max(group) * scale if group else None for group in values]

    received = [sum(each.received for each in group) / (60 * len(group)) for group in groups]
    return [
        Chart("Notifications per second", "1/s", times, [Series("received", received)], since, until),
        Chart(
            "Time from receiving to commit",
            "ms",
            times,
            [Series("median", highest("commit_ms_p50")), Series("99th percentile", highest("commit_ms_p99"))],
            since,
            until,
        ),
        Chart(
            "Time from commit to applied, and lag of deriving",
            "s",
            times,
            [
                Series("applied, 99th percentile", highest("apply_ms_p99", 0.001)),
                Series("derived, lag", highest("derive_ms", 0.001)),
            ],
            since,
            until,
        ),
        Chart(
            "What waits",
            "",
            times,
            [Series("notifications", highest("pending")), Series("reads", highest("refresh_due"))],
            since,
            until,
        ),
    ]


routes = [Route("/", show)]
