"""The page of an EVSE's uptime: everything that makes the figures of a month, and what is let out of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from analytics.availability.uptime import YEAR_S
from analytics.schema.availability import DOWN
from receiver.console.command_lines import exclude_command, exclude_draft
from receiver.console.console import Console
from receiver.console.months import Month
from receiver.console.pages.uptime import last_month
from receiver.console.queries import Query, id_of_path
from receiver.console.strips import Strip, strip
from storage.operator_exclusions import Entry, Subject, entries_covering
from storage.reports.evse_states import StateInterval, intervals_in
from storage.reports.uptime_evidence import (
    MAX_OUTAGES,
    Exclusion,
    Outage,
    Period,
    exclusions_of,
    outages_of,
    periods_of,
)
from storage.reports.uptime_figures import (
    Day,
    MonthSum,
    Place,
    Span,
    Uptime,
    days_of,
    month_sums,
    place_of,
    span_of,
    uptime_of,
)
from storage.reports.uptime_months import DayShare, known

#: The fields of the form with which an exclusion is entered.
FIELDS = ("subject", "from", "to", "reason", "evidence")


@dataclass(frozen=True, slots=True)
class Reliability:
    """What the days of a month add up to by the reading of the United Kingdom, in seconds.

    Attributes:
        open_s: within the opening hours.
        not_working_s: of these, faulted or unavailable.
        unmeasured_s: of these, unknown, offline or occupied.
    """

    open_s: int
    not_working_s: int
    unmeasured_s: int

    @classmethod
    def of(cls, days: list[Day]) -> Reliability:
        """Add up days."""
        return cls(
            sum(day.day_s - day.closed_s for day in days),
            sum(day.faulted_s + day.unavailable_s - day.not_working_closed_s for day in days),
            sum(day.offline_s + day.occupied_s + day.unknown_s - day.unmeasured_closed_s for day in days),
        )

    @property
    def measured_s(self) -> int:
        """Seconds within the opening hours that are measured."""
        return self.open_s - self.unmeasured_s

    @property
    def written_percent(self) -> float | None:
        """The share that is reliable, as the regulation has it."""
        return 100 * (self.open_s - self.not_working_s) / self.open_s if self.open_s else None

    @property
    def measured_percent(self) -> float | None:
        """The share of the measured time that is reliable."""
        return 100 * (self.measured_s - self.not_working_s) / self.measured_s if self.measured_s else None


@dataclass(frozen=True, slots=True)
class ShownOutage:
    """An outage with what is let out of it and the states that make it."""

    outage: Outage
    exclusions: list[Exclusion]
    states: list[StateInterval]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What makes the figures of a month.

    Attributes:
        span: when the month begins and ends at the location, in UTC if its time zone is not known.
        uptime: the figure over twelve months; None: there is none.
        months: the sums of the twelve months.
        outages: the outages of the month, or a part of them.
        next_outages_at: where the next part of them begins; None: there is none.
        unknown: the intervals of the month in which the state was not known.
        entries: what operators entered that covers the EVSE in the month.
    """

    place: Place
    month: Month
    span: Span
    uptime: Uptime | None
    months: list[MonthSum]
    days: list[Day]
    strip: Strip
    reliability: Reliability
    outages: list[ShownOutage]
    next_outages_at: datetime | None
    unknown: list[StateInterval]
    periods: list[Period]
    entries: list[Entry]


def load(
    connection: Connection, tenant: str, evse_id: int, month: Month | None, outages_since: datetime | None
) -> Evidence | None:
    """Read what makes the figures of a month; None if no such EVSE is known.

    Parameters:
        month: the month; None: the last one that has figures.
        outages_since: show only outages that end after this time.
    """
    place = place_of(connection, tenant, evse_id)
    if place is None:
        return None
    month = month or last_month(known(connection, tenant))
    days = month.first_day, month.next.first_day
    span = span_of(connection, place.timezone or "UTC", *days)
    since = min(max(outages_since or span.began_at, span.began_at), span.ended_at)
    found = outages_of(connection, tenant, evse_id, span, since)
    listed = found[:MAX_OUTAGES]
    until = listed[-1].ended_at if len(found) > MAX_OUTAGES else None
    time = span.began_at, span.ended_at
    part = since, until or span.ended_at
    exclusions = exclusions_of(connection, tenant, evse_id, *part)
    states = intervals_in(connection, tenant, evse_id, *part, DOWN)
    of_month = days_of(connection, tenant, evse_id, *days)
    shares = [DayShare(each.day, each.day_s, each.outage_s, each.excluded_s, each.unknown_s) for each in of_month]
    return Evidence(
        place=place,
        month=month,
        span=span,
        uptime=uptime_of(connection, tenant, evse_id, month.first_day),
        months=month_sums(connection, tenant, evse_id, month.first_of_twelve, days[1]),
        days=of_month,
        strip=strip(month.days, shares, span.until_day),
        reliability=Reliability.of(of_month),
        outages=[_with_evidence(each, exclusions, states) for each in listed],
        next_outages_at=until,
        unknown=intervals_in(connection, tenant, evse_id, *time, ["unknown"]),
        periods=periods_of(connection, tenant, place, *time),
        entries=entries_covering(connection, tenant, subject_ids(place), *time),
    )


def _with_evidence(outage: Outage, exclusions: list[Exclusion], states: list[StateInterval]) -> ShownOutage:
    def is_in(state: StateInterval) -> bool:
        ends = outage.ended_at
        return outage.began_at <= state.began_at and (ends is None or state.began_at < ends)

    return ShownOutage(
        outage,
        [each for each in exclusions if each.outage_began_at == outage.began_at],
        [state for state in states if is_in(state)],
    )


async def show(request: Request) -> Response:
    """Show the page; a form that is asked for by a link has the time of an outage."""
    query = Query(request.query_params)
    values = {name: query.text(name, longest=100) or "" for name in FIELDS}
    return await show_with_form(request, values)


async def show_with_form(
    request: Request, values: Mapping[str, str], *, problem: tuple[str, str] | None = None, status: int = 200
) -> Response:
    """Show the page with a form that holds what a person wrote.

    Parameters:
        values: what the form holds.
        problem: the field of the form that is wrong, and why; None: none is.
    """
    console = Console.of(request)
    tenant, evse_id = console.tenant_of(request), id_of_path(request, "evse_id")
    query = Query(request.query_params)
    month, since, entered = query.month("month"), query.moment("outages"), query.identifier("entry")
    evidence = await console.read(lambda connection: load(connection, tenant, evse_id, month, since))
    if evidence is None:
        raise HTTPException(404, f"No EVSE {evse_id} is known of {tenant}.")
    return console.page(
        request,
        "uptime_evidence.html",
        status=status,
        tenant=tenant,
        shown=evidence,
        year_s=YEAR_S,
        values=values,
        problem=problem,
        problems=query.problems,
        entered=next((each for each in evidence.entries if each.exclusion_id == entered), None),
        command=lambda exclusion: exclude_command(tenant, exclusion),
        draft=exclude_draft(tenant, subject_ids(evidence.place), values),
        here=address_of(tenant, evse_id, evidence.month),
    )


def subject_ids(place: Place) -> Mapping[Subject, int | None]:
    """Return what an exclusion of an EVSE may be for, each with its id; None: it is not known."""
    return {"evse": place.evse_id, "charge_point": place.charge_point_id, "location": place.location_id}


def address_of(tenant: str, evse_id: int, month: Month | None, **more: Any) -> str:
    """Return the address of the page."""
    query = {"month": month, **more} if month else more
    return f"/tenants/{tenant}/uptime/{evse_id}" + (f"?{urlencode(query)}" if query else "")


routes = [Route("/tenants/{tenant}/uptime/{evse_id}", show)]
