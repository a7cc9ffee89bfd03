"""The page *Completeness*: how fresh a tenant's data are, what arrived day by day, and what only sync runs found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.console.charts import Chart, Series
from receiver.console.console import Console
from receiver.console.parts import show_part
from storage.clock import clock
from storage.reports.completeness_days import CompletenessDay, completeness_days, freshness
from storage.sync.api_usage import spent
from storage.sync.completeness import completeness
from workers.sync.kinds_read import kinds_read

#: The days that the page offers, by their name in the address.
SPANS = {"week": 7, "month": 31, "quarter": 92}

#: The span that is shown if none, or a wrong one, is asked for.
DEFAULT_SPAN = "week"


def _span_of(request: Request) -> str:
    span = request.query_params.get("span", DEFAULT_SPAN)
    return span if span in SPANS else DEFAULT_SPAN


async def show(request: Request) -> Response:
    """Show the page."""
    console = Console.of(request)
    tenant, span = console.tenant_of(request), _span_of(request)
    fresh, days = await console.read(
        lambda connection: (freshness(connection, tenant), completeness_days(connection, tenant, SPANS[span]))
    )
    return console.page(
        request,
        "completeness.html",
        tenant=tenant,
        span=span,
        spans=list(SPANS),
        days=SPANS[span],
        fresh=fresh,
        shown=days,
        charts=charts(days[::-1], SPANS[span]),
    )


def charts(days: Sequence[CompletenessDay], during: int) -> list[Chart]:
    """Return the charts of days, in order: what was received, and what was missed if anything was.

    Parameters:
        during: how many days their axis shows, of which today is the last.
    """
    until = datetime.combine(clock.now().astimezone(UTC), time(), UTC) + timedelta(days=1)
    since = until - timedelta(days=during)
    times = [datetime.combine(day.day, time(), UTC) for day in days]
    if days:  # a step needs an end
        days = [*days, days[-1]]
        times.append(times[-1] + timedelta(days=1))
    line = [Series("received", [day.received for day in days], True)]
    received = Chart("Notifications received", "", times, line, since, until)
    if not any(day.found_by_reconcile for day in days):
        return [received]
    found = Series("found", [day.found_by_reconcile for day in days], True)
    healed = Series("healed", [day.healed_by_reconcile for day in days], True)
    return [received, Chart("Changes that only sync runs found", "", times, [found, healed], since, until)]


async def show_kinds(request: Request) -> Response:
    """Show what sync runs compared and found of each kind, which reads more than a page should wait for."""
    console = Console.of(request)
    tenant, days = console.tenant_of(request), SPANS[_span_of(request)]
    during = timedelta(days=days)
    read = kinds_read({tenant: console.settings.tenants[tenant]})
    kinds, calls = await console.read(
        lambda connection: (completeness(connection, read, during), spent(connection, [tenant], during))
    )
    compared = sum(kind.compared for kind in kinds)
    missed = sum(kind.missing + kind.stale for kind in kinds)
    return show_part(
        request,
        "parts/completeness_kinds.html",
        f"Compared with AMPECO, last {days} days",
        tenant=tenant,
        days=days,
        kinds=kinds,
        calls=calls[tenant],
        compared=compared,
        as_shown=1 - Decimal(missed) / compared if compared else None,
        healed=sum(kind.healed for kind in kinds),
        missed=missed,
    )


routes = [Route("/completeness", show), Route("/completeness/kinds", show_kinds)]
