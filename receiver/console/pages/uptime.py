"""The page *Uptime*: a month by EVSE or location, the worst first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.console.console import Console
from receiver.console.months import Month
from receiver.console.parts import show_part
from receiver.console.queries import Query
from receiver.console.strips import Strip, strip
from storage.clock import clock
from storage.reports.uptime_months import (
    Known,
    MonthFigures,
    Order,
    day_shares,
    find_locations,
    known,
    month_figures,
    network_year,
)

#: Rows of a part of the list. Each has a strip of a month, so a part has up to 1,550 days.
PER_PART = 50

#: Further parts are not counted up to: a fleet of that size is filtered.
MAX_PARTS = 2_000

ORDERS: dict[Order, str] = {
    "nevi": "NEVI uptime, the lowest first",
    "uk": "UK reliability, the lowest first",
    "up": "up of the known time, the lowest first",
    "outage": "outages that count, the longest first",
    "known": "known time, the least first",
    "name": "name",
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What a person chose.

    Attributes:
        month: the month; None: the last one that has figures.
        location: an id or a part of the name of locations; None: all.
        by_location: whether locations are shown instead of EVSEs.
        part: the number of the part of the list, from 1 on.
        problems: a sentence for each value that was left out.
    """

    tenant: str
    month: Month | None
    location: str | None
    by_location: bool
    order: Order
    part: int
    problems: Sequence[str]

    @classmethod
    def of(cls, request: Request, tenant: str) -> Filters:
        """Return the filters of a request; a value that cannot be read is left out."""
        query = Query(request.query_params)
        return cls(
            tenant,
            query.month("month"),
            query.text("location"),
            query.choice("by", ("location",)) is not None,
            query.choice("sort", ORDERS) or "nevi",
            min(max(query.identifier("part") or 1, 1), MAX_PARTS),
            query.problems,
        )

    def link_to(self, month: Month) -> Callable[..., str]:
        """Return the function that makes addresses of the page with some filters changed."""

        def link(**changes: object) -> str:
            chosen = {
                "tenant": self.tenant,
                "month": month,
                "location": self.location,
                "by": "location" if self.by_location else "",
                "sort": self.order,
            }
            return "/uptime?" + urlencode({name: value for name, value in (chosen | changes).items() if value})

        return link


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows."""

    month: Month
    known: Known
    rows: list[tuple[MonthFigures, Strip | None]]
    total: int


async def show(request: Request) -> Response:
    """Show the page."""
    console = Console.of(request)
    filters = Filters.of(request, console.tenant_of(request))
    shown = await console.read(lambda connection: load(connection, filters))
    return console.page(
        request,
        "uptime.html",
        tenant=filters.tenant,
        filters=filters,
        shown=shown,
        orders=ORDERS,
        link=filters.link_to(shown.month),
        first=(filters.part - 1) * PER_PART,
        per_part=PER_PART,
    )


def load(connection: Connection, filters: Filters) -> Shown:
    """Read what the page shows."""
    has_figures = known(connection, filters.tenant)
    month = filters.month or last_month(has_figures)
    location_ids = find_locations(connection, filters.tenant, filters.location) if filters.location else None
    days = month.first_day, month.next.first_day
    figures, total = month_figures(
        connection,
        filters.tenant,
        *days,
        by_location=filters.by_location,
        location_ids=location_ids,
        order=filters.order,
        limit=PER_PART,
        offset=(filters.part - 1) * PER_PART,
    )
    evse_ids = {row.evse_id for row in figures if row.evse_id is not None}
    shares = day_shares(connection, filters.tenant, evse_ids, *days)
    rows = [
        (row, None if row.evse_id is None else strip(month.days, shares[row.evse_id], row.until_day)) for row in figures
    ]
    return Shown(month, has_figures, rows, total)


def last_month(has_figures: Known) -> Month:
    """Return the last month that is over, else the one of the last day, else the present one."""
    return Month.of(has_figures.last_month or has_figures.last_day or clock.now().date())


async def show_network(request: Request) -> Response:
    """Show the reliability of a tenant's network in a year, which takes longer to read than a page may take."""
    console = Console.of(request)
    tenant = console.tenant_of(request)
    year = (Month.parse(f"{request.query_params.get('year', '')}-01") or Month.of(clock.now().date())).first_day.year
    network = await console.read(lambda connection: network_year(connection, tenant, year))
    title = f"The rapid charging network in {year}"
    return show_part(request, "parts/network_year.html", title, year=year, network=network)


routes = [Route("/uptime", show), Route("/uptime/network", show_network)]
