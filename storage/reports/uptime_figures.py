"""The figures of one EVSE's uptime, and what they add up: months and days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Place:
    """An EVSE and where it is, by the latest master data.

    Attributes:
        timezone: the time zone of the location; None: none is known, so there are no local days.
        counts_in_network: whether it belongs to the network whose reliability the United Kingdom regulates: a public
            charge point of the tenant's own, of at least 50 kW.
    """

    evse_id: int
    label: str | None
    charge_point_id: int | None
    charge_point: str | None
    location_id: int | None
    location: str | None
    timezone: str | None
    deleted_at: datetime | None
    counts_in_network: bool


# Index: primary keys. What counts in the network is as in analytics.network_reliability_year.
_PLACE = text("""
SELECT evse.evse_id,
       evse.label,
       evse.charge_point_id,
       charge_point.name,
       evse.location_id,
       location.name,
       location.timezone,
       evse.deleted_at,
       coalesce(evse.max_power_w >= 50000 AND evse.roaming_operator_id IS NULL
                AND charge_point.roaming_operator_id IS NULL AND charge_point.access_type = 'public', false)
  FROM analytics.evse AS evse
  LEFT JOIN analytics.charge_point AS charge_point
    ON charge_point.tenant = :tenant
   AND charge_point.charge_point_id = evse.charge_point_id
  LEFT JOIN analytics.location AS location
    ON location.tenant = :tenant
   AND location.location_id = evse.location_id
 WHERE evse.tenant = :tenant
   AND evse.evse_id = :evse_id
""")


def place_of(connection: Connection, tenant: str, evse_id: int) -> Place | None:
    """Return an EVSE with its place; None: no such EVSE is known."""
    row = connection.execute(_PLACE, {"tenant": tenant, "evse_id": evse_id}).one_or_none()
    return None if row is None else Place(*row)


@dataclass(frozen=True, slots=True)
class Uptime:
    """A row of ``analytics.evse_uptime_month``."""

    days: int
    outage_s: int
    excluded_s: int
    nevi_percent: Decimal
    meets_97: bool
    known_s: int
    up_percent: Decimal | None
    known_percent: Decimal
    ampeco_downtime_s: int
    rule: str
    changed_at: datetime


# Index: primary key.
_UPTIME = text("""
SELECT days, outage_s, excluded_s, nevi_uptime_percent, meets_97, known_s, up_share_percent, coverage_percent,
       ampeco_downtime_s, rule, changed_at
  FROM analytics.evse_uptime_month
 WHERE tenant = :tenant
   AND evse_id = :evse_id
   AND month = :month
""")


def uptime_of(connection: Connection, tenant: str, evse_id: int, month: date) -> Uptime | None:
    """Return the uptime over the twelve months that end with one; None: that month is not over, or nothing is known."""
    row = connection.execute(_UPTIME, {"tenant": tenant, "evse_id": evse_id, "month": month}).one_or_none()
    return None if row is None else Uptime(*row)


@dataclass(frozen=True, slots=True)
class MonthSum:
    """What the days of a month add up to, of which anything is known."""

    month: date
    days: int
    outage_s: int
    excluded_s: int
    known_s: int


# Index: primary key.
_MONTHS = text("""
SELECT CAST(date_trunc('month', CAST(day AS timestamp)) AS date) AS month,
       count(*) FILTER (WHERE unknown_s < day_s),
       sum(outage_s),
       sum(excluded_s),
       sum(day_s - unknown_s)
  FROM analytics.evse_day
 WHERE tenant = :tenant
   AND evse_id = :evse_id
   AND day >= :first_day
   AND day < :next_day
 GROUP BY date_trunc('month', CAST(day AS timestamp))
 ORDER BY month
""")


def month_sums(connection: Connection, tenant: str, evse_id: int, first_day: date, next_day: date) -> list[MonthSum]:
    """Return the sums of the months of some days, in order; a month without a day that is known is missing."""
    parameters = {"tenant": tenant, "evse_id": evse_id, "first_day": first_day, "next_day": next_day}
    return [MonthSum(*row) for row in connection.execute(_MONTHS, parameters)]


@dataclass(frozen=True, slots=True)
class Day:
    """A row of ``analytics.evse_day``: seconds of a local day that is over."""

    day: date
    began_at: datetime
    ended_at: datetime
    day_s: int
    outage_s: int
    excluded_s: int
    unknown_s: int
    faulted_s: int
    unavailable_s: int
    offline_s: int
    occupied_s: int
    closed_s: int
    not_working_closed_s: int
    unmeasured_closed_s: int


# Index: primary key.
_DAYS = text("""
SELECT day, began_at, ended_at, day_s, outage_s, excluded_s, unknown_s, faulted_s, unavailable_s, offline_s, occupied_s,
       closed_s, not_working_closed_s, unmeasured_closed_s
  FROM analytics.evse_day
 WHERE tenant = :tenant
   AND evse_id = :evse_id
   AND day >= :first_day
   AND day < :next_day
 ORDER BY day
""")


def days_of(connection: Connection, tenant: str, evse_id: int, first_day: date, next_day: date) -> list[Day]:
    """Return the days that are derived, in order."""
    parameters = {"tenant": tenant, "evse_id": evse_id, "first_day": first_day, "next_day": next_day}
    return [Day(*row) for row in connection.execute(_DAYS, parameters)]


@dataclass(frozen=True, slots=True)
class Span:
    """The instants of some local days.

    Attributes:
        began_at, ended_at: the beginning of the first day, and the end of the last one.
        counted_until_at: the end of the last of them that is over; ``began_at`` if none is.
        until_day: the first day that is not over, or not one of them.
    """

    began_at: datetime
    ended_at: datetime
    counted_until_at: datetime
    until_day: date


_SPAN = text("""
SELECT span.began_at, span.ended_at, greatest(span.began_at, least(span.ended_at, span.today_at)),
       least(CAST(:next_day AS date), span.today)
  FROM (SELECT CAST(now() AT TIME ZONE :timezone AS date) AS today,
               analytics.first_instant(CAST(:first_day AS timestamp), :timezone) AS began_at,
               analytics.first_instant(CAST(:next_day AS timestamp), :timezone) AS ended_at,
               analytics.first_instant(date_trunc('day', now() AT TIME ZONE :timezone), :timezone) AS today_at) AS span
""")


def span_of(connection: Connection, timezone: str, first_day: date, next_day: date) -> Span:
    """Return when days begin and end in a time zone."""
    parameters = {"timezone": timezone, "first_day": first_day, "next_day": next_day}
    return Span(*connection.execute(_SPAN, parameters).one())
