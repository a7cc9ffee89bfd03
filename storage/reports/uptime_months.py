"""The uptime of a tenant's EVSEs and locations in a month, the worst first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Connection, TextClause, text

#: By what a month is sorted.
Order = Literal["nevi", "uk", "up", "known", "outage", "name"]


@dataclass(frozen=True, slots=True)
class Known:
    """The days and months of a tenant of which there are figures; None: there is none.

    Attributes:
        first_day, last_day: the first and the last local day that is derived.
        last_month: the first day of the last month that is over and has an uptime.
    """

    first_day: date | None
    last_day: date | None
    last_month: date | None


# Indexes: evse_day_tenant_day_idx and evse_uptime_month_tenant_month_idx, of each an end.
_KNOWN = text("""
SELECT (SELECT min(day) FROM analytics.evse_day WHERE tenant = :tenant),
       (SELECT max(day) FROM analytics.evse_day WHERE tenant = :tenant),
       (SELECT max(month) FROM analytics.evse_uptime_month WHERE tenant = :tenant)
""")


def known(connection: Connection, tenant: str) -> Known:
    """Return for which time a tenant has figures."""
    return Known(*connection.execute(_KNOWN, {"tenant": tenant}).one())


@dataclass(frozen=True, slots=True)
class MonthFigures:
    """The figures of an EVSE, or of the EVSEs of a location together, in a month.

    Attributes:
        evse_id: the EVSE; None: the row is of a location.
        label: the beginning of the EVSE's label.
        location_id: the location; None: it is not known.
        location: the beginning of the location's name.
        evses: how many EVSEs the row is of.
        nevi_percent: the uptime over the twelve months that end with this one, of a location its lowest; None: the
            month is not over.
        twelve_known_percent: the share of the twelve months in which the state was known, of a location the lowest.
        below: how many of the EVSEs do not meet the 97 % of NEVI.
        outage_s: seconds in outages in the month.
        excluded_s: seconds of them that are let out.
        unknown_s: seconds of the days of the month that are over in which the state was not known.
        known_percent: the share of them in which it was.
        up_percent: the share of the known time without an outage; None: none is known.
        written_percent: the share of the opening hours that is reliable, as the regulation of the United Kingdom has
            it; None: there are none.
        measured_percent: the same, without the time that is unknown, offline or occupied.
        until_day: the first day that is not over, or not of the month; None: there are no local days.
    """

    evse_id: int | None
    label: str | None
    location_id: int | None
    location: str | None
    evses: int
    nevi_percent: Decimal | None
    twelve_known_percent: Decimal | None
    below: int
    outage_s: int
    excluded_s: int
    unknown_s: int
    known_percent: Decimal | None
    up_percent: Decimal | None
    written_percent: Decimal | None
    measured_percent: Decimal | None
    until_day: date | None


_ORDERS: Mapping[Order, str] = {
    "nevi": "nevi_percent NULLS LAST, written_percent NULLS LAST, up_percent NULLS LAST",
    "uk": "written_percent NULLS LAST, measured_percent NULLS LAST",
    "up": "up_percent NULLS LAST",
    "known": "known_percent NULLS FIRST",
    "outage": "outage_s - excluded_s DESC",
    "name": "location, label",
}

# The days of a month that are over, and what each EVSE has of them; days without a row are unknown.
_FIGURES = """
WITH month AS (
    SELECT known.evse_id,
           sum(known.day_s - known.unknown_s) AS known_s,
           sum(known.outage_s) AS outage_s,
           sum(known.excluded_s) AS excluded_s,
           sum(known.day_s - known.closed_s) AS open_s,
           sum(known.faulted_s + known.unavailable_s - known.not_working_closed_s) AS not_working_s,
           sum(known.offline_s + known.occupied_s + known.unknown_s - known.unmeasured_closed_s) AS unmeasured_s
      FROM analytics.evse_day AS known
     WHERE known.tenant = :tenant
       AND known.day >= :first_day
       AND known.day < :next_day{of_locations}
     GROUP BY known.evse_id
), twelve AS (
    SELECT known.evse_id, known.nevi_uptime_percent, known.coverage_percent, known.meets_97
      FROM analytics.evse_uptime_month AS known
     WHERE known.tenant = :tenant
       AND known.month = :first_day{of_locations}
), figure AS (
    SELECT coalesce(month.evse_id, twelve.evse_id) AS evse_id,
           left(evse.label, 200) AS label,
           evse.location_id,
           left(location.name, 200) AS location,
           twelve.nevi_uptime_percent,
           twelve.coverage_percent,
           twelve.meets_97,
           coalesce(month.known_s, 0) AS known_s,
           coalesce(month.outage_s, 0) AS outage_s,
           coalesce(month.excluded_s, 0) AS excluded_s,
           coalesce(month.open_s, 0) AS open_s,
           coalesce(month.not_working_s, 0) AS not_working_s,
           coalesce(month.unmeasured_s, 0) AS unmeasured_s,
           CAST(over.until_time AS date) AS until_day,
           greatest(coalesce(extract(epoch FROM over.until_time AT TIME ZONE location.timezone
               - CAST(:first_day AS timestamp) AT TIME ZONE location.timezone), 0), 0) AS span_s
      FROM month
      FULL JOIN twelve ON twelve.evse_id = month.evse_id
      LEFT JOIN analytics.evse AS evse
        ON evse.tenant = :tenant
       AND evse.evse_id = coalesce(month.evse_id, twelve.evse_id)
      LEFT JOIN analytics.location AS location
        ON location.tenant = :tenant
       AND location.location_id = evse.location_id
     CROSS JOIN LATERAL (
           SELECT least(CAST(:next_day AS timestamp), date_trunc('day', now() AT TIME ZONE location.timezone))
                      AS until_time) AS over
)"""

_OF_LOCATIONS = """
       AND known.location_id = ANY(:location_ids)"""

_SHOWN = """
SELECT {evse_id} AS evse_id,
       {label} AS label,
       location_id,
       max(location) AS location,
       count(*) AS evses,
       min(nevi_uptime_percent) AS nevi_percent,
       min(coverage_percent) AS twelve_known_percent,
       count(*) FILTER (WHERE NOT meets_97) AS below,
       CAST(sum(outage_s) AS bigint) AS outage_s,
       CAST(sum(excluded_s) AS bigint) AS excluded_s,
       CAST(greatest(sum(span_s) - sum(known_s), 0) AS bigint) AS unknown_s,
       100 * sum(known_s) / nullif(sum(span_s), 0) AS known_percent,
       100 * (sum(known_s) - sum(outage_s)) / nullif(sum(known_s), 0) AS up_percent,
       100 * (sum(open_s) - sum(not_working_s)) / nullif(sum(open_s), 0) AS written_percent,
       100 * (sum(open_s) - sum(unmeasured_s) - sum(not_working_s)) / nullif(sum(open_s) - sum(unmeasured_s), 0)
           AS measured_percent,
       max(until_day) AS until_day
  FROM figure
 GROUP BY {grouped}"""


def _statement(*, by_location: bool, of_locations: bool, order: Order) -> TextClause:
    """Return the statement that shows a month.

    Indexes: evse_day_tenant_day_idx or evse_day_tenant_location_id_day_idx, their like of evse_uptime_month, and
    primary keys. Whichever part is shown, all EVSEs are sorted, so an offset costs no more than a cursor.
    """
    figures = _FIGURES.format(of_locations=_OF_LOCATIONS if of_locations else "")
    shown = (
        _SHOWN.format(evse_id="CAST(NULL AS bigint)", label="CAST(NULL AS text)", grouped="location_id")
        if by_location
        else _SHOWN.format(evse_id="evse_id", label="label", grouped="evse_id, label, location_id")
    )
    return text(f"""{figures}
SELECT shown.*, count(*) OVER () AS total
  FROM ({shown}) AS shown
 ORDER BY {_ORDERS[order]}, location_id, evse_id
 LIMIT :limit
OFFSET :offset
""")  # noqa: S608 - the parts are ours


def month_figures(
    connection: Connection,
    tenant: str,
    first_day: date,
    next_day: date,
    *,
    by_location: bool,
    location_ids: Sequence[int] | None,
    order: Order,
    limit: int,
    offset: int,
) -> tuple[list[MonthFigures], int]:
    """Return the figures of a month, the worst first, and how many there are in all.

    Parameters:
        first_day, next_day: the first day of the month and of the next one.
        by_location: whether EVSEs of one location are one row.
        location_ids: the locations to show; None: all.
    """
    parameters: dict[str, Any] = {
        "tenant": tenant,
        "first_day": first_day,
        "next_day": next_day,
        "limit": limit,
        "offset": offset,
    }
    if location_ids is not None:
        parameters["location_ids"] = list(location_ids)
    statement = _statement(by_location=by_location, of_locations=location_ids is not None, order=order)
    rows = connection.execute(statement, parameters).all()
    return [MonthFigures(*row[:-1]) for row in rows], rows[0].total if rows else 0


@dataclass(frozen=True, slots=True)
class DayShare:
    """What an EVSE was in a local day, in seconds; the rest of the day it was up."""

    day: date
    day_s: int
    outage_s: int
    excluded_s: int
    unknown_s: int


# Index: primary key.
_DAYS = text("""
SELECT evse_id, day, day_s, outage_s, excluded_s, unknown_s
  FROM analytics.evse_day
 WHERE tenant = :tenant
   AND evse_id = ANY(:evse_ids)
   AND day >= :first_day
   AND day < :next_day
""")


def day_shares(
    connection: Connection, tenant: str, evse_ids: Collection[int], first_day: date, next_day: date
) -> dict[int, list[DayShare]]:
    """Return the days of some EVSEs that are derived, by EVSE, in no order."""
    parameters = {"tenant": tenant, "evse_ids": sorted(evse_ids), "first_day": first_day, "next_day": next_day}
    shares: dict[int, list[DayShare]] = {evse_id: [] for evse_id in evse_ids}
    for evse_id, *share in connection.execute(_DAYS, parameters):
        shares[evse_id].append(DayShare(*share))
    return shares


# Index: the primary key; the names of a tenant's locations are read as a whole.
_LOCATIONS = text("""
SELECT location_id
  FROM analytics.location
 WHERE tenant = :tenant
   AND (location_id = :number OR name ILIKE :pattern)
""")


def find_locations(connection: Connection, tenant: str, term: str) -> list[int]:
    """Return the locations with this id, or with this text in their name."""
    escaped = term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    number = int(term) if term.isdecimal() and len(term) < 19 else None
    parameters = {"tenant": tenant, "number": number, "pattern": f"%{escaped}%"}
    return list(connection.execute(_LOCATIONS, parameters).scalars())


@dataclass(frozen=True, slots=True)
class NetworkYear:
    """A row of ``analytics.network_reliability_year``."""

    year: int
    evses: int
    open_s: int
    written_percent: Decimal | None
    measured_percent: Decimal | None
    meets_99: bool


# The view reads all days of the EVSEs that count, by the primary key: nothing that a page should wait for.
_NETWORK = text("""
SELECT year, evses, CAST(open_s AS bigint), reliable_percent_as_written, reliable_percent_measured, meets_99_as_written
  FROM analytics.network_reliability_year
 WHERE tenant = :tenant
   AND year = :year
""")


def network_year(connection: Connection, tenant: str, year: int) -> NetworkYear | None:
    """Return the reliability of a tenant's network in a year; None: no EVSE counts."""
    row = connection.execute(_NETWORK, {"tenant": tenant, "year": year}).one_or_none()
    return None if row is None else NetworkYear(*row)
