"""Read the opening hours of locations, and find the times at which they are closed.

AMPECO shows intervals of local time for each day of the week: ``{"monday": [{"start": "07:00", "end": "22:00"}]}``. A
day without intervals is closed. An end at or before the start is on the next day, so ``22:00`` to ``06:00`` is a night
and equal times are 24 hours. Hours that cannot be read count as always open: in doubt, an outage counts.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import orjson

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

DAY_S = 86_400

#: More intervals than people enter are not read.
MAX_INTERVALS = 24

_TIME = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])(?::([0-5][0-9]))?")


class Opening(NamedTuple):
    """An interval in which a location is open each week.

    Attributes:
        weekday: 1 for Monday to 7 for Sunday.
        starts_s: its start, in seconds of local time after midnight.
        ends_s: its end; more than a day's seconds if it is on the next day.
    """

    weekday: int
    starts_s: int
    ends_s: int


def parse_hours(text: str | None) -> list[Opening] | None:
    """Return the intervals in which a location is open; None if it always is, or if the hours cannot be read.

    Parameters:
        text: the opening hours, JSON; None: it is always open.
    """
    try:
        hours = orjson.loads(text or "null")
    except ValueError:  # nested more deeply than it reads
        return None
    if not isinstance(hours, dict) or not hours.keys() <= set(DAYS):
        return None
    found: list[Opening] = []
    for weekday, day in enumerate(DAYS, 1):
        intervals = hours.get(day) or []
        if not isinstance(intervals, list) or len(intervals) > MAX_INTERVALS:
            return None
        for interval in intervals:
            opening = _opening(weekday, interval)
            if opening is None:
                return None
            found.append(opening)
    return found


def _opening(weekday: int, interval: Any) -> Opening | None:
    if not isinstance(interval, dict):
        return None
    starts_s, ends_s = (_seconds(interval.get(name)) for name in ("start", "end"))
    if starts_s is None or ends_s is None or starts_s >= DAY_S:
        return None
    return Opening(weekday, starts_s, ends_s if ends_s > starts_s else ends_s + DAY_S)


def _seconds(time: Any) -> int | None:
    match = _TIME.fullmatch(time) if isinstance(time, str) else None
    if match is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    after_midnight = hours * 3_600 + minutes * 60 + seconds
    return after_midnight if after_midnight <= DAY_S else None


#: Common table expressions after ``span (location_id, timezone, first_day, last_day)``, the days of locations: each
#: ``location_day`` with its times, and what of it the location is ``closed``. A change of the zone's offset can make
#: days of no length, which are left out. Parameters: ``openings``, JSON; ``locations_with_hours``, as others are
#: always open.
LOCAL_DAYS = """
zone_day AS MATERIALIZED (
    SELECT timezone, day, analytics.first_instant(day, timezone) AS began_at
      FROM (SELECT timezone, min(first_day) AS first_day, max(last_day) + 1 AS last_day FROM span GROUP BY timezone)
           AS zone
     CROSS JOIN LATERAL generate_series(
           CAST(first_day AS timestamp), CAST(last_day AS timestamp), interval '1 day') AS day
), opening AS MATERIALIZED (
    SELECT location_id, weekday, starts_s, ends_s
      FROM json_to_recordset(CAST(:openings AS json))
           AS opening (location_id bigint, weekday integer, starts_s integer, ends_s integer)
), location_day AS MATERIALIZED (
    SELECT span.location_id,
           span.timezone,
           CAST(local.day AS date) AS day,
           local.began_at,
           local.ended_at,
           CASE WHEN span.location_id = ANY(CAST(:locations_with_hours AS bigint[]))
           THEN tstzmultirange(tstzrange(local.began_at, local.ended_at)) - coalesce((
                SELECT range_agg(tstzrange(opened.began_at, opened.ended_at))
                  FROM opening
                 CROSS JOIN LATERAL (VALUES (interval '0 days'), (interval '1 day')) AS earlier (days)
                 CROSS JOIN LATERAL (
                       SELECT analytics.first_instant(
                                  local.day - earlier.days + make_interval(secs => opening.starts_s),
                                  span.timezone) AS began_at,
                              analytics.first_instant(
                                  local.day - earlier.days + make_interval(secs => opening.ends_s),
                                  span.timezone) AS ended_at) AS opened
                 WHERE opening.location_id = span.location_id
                   AND opening.weekday = extract(isodow FROM local.day - earlier.days)
                   AND opened.began_at < opened.ended_at), '{}')
           ELSE '{}'
           END AS closed
      FROM (SELECT location_id, timezone, min(first_day) AS first_day, max(last_day) AS last_day
              FROM span
             GROUP BY location_id, timezone) AS span
      JOIN (SELECT timezone, day, began_at, lead(began_at) OVER (PARTITION BY timezone ORDER BY day) AS ended_at
              FROM zone_day) AS local
        ON local.timezone = span.timezone
       AND local.day BETWEEN span.first_day AND span.last_day
     WHERE local.began_at < local.ended_at
)"""
