"""Load where EVSEs are: charge point, location, time zone and opening hours, on which days and outages depend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from analytics.availability.opening_hours import Opening, parse_hours
from analytics.writing import Work
from storage.documents import to_json


@dataclass(frozen=True, slots=True)
class Place:
    """Where an EVSE is, by its latest master data.

    Attributes:
        evse_id: the EVSE.
        charge_point_id: its charge point.
        location_id: the location of the charge point.
        timezone: the time zone of the location; None: none is known.
        openings: when the location is open; None: always.
        is_same: whether all this is as it was when the EVSE's days were last derived.
        days_until_at: the end of the last day that was derived; None: none was.
        due_at: when the next day or month is over that is to be derived; None: none will be.
    """

    evse_id: int
    charge_point_id: int | None
    location_id: int | None
    timezone: str | None
    openings: Sequence[Opening] | None
    is_same: bool
    days_until_at: datetime | None
    due_at: datetime | None


# Index: primary keys.
_PLACES = text("""
SELECT evse.evse_id,
       evse.charge_point_id,
       evse.location_id,
       location.timezone,
       CAST(location.working_hours AS text) AS working_hours,
       progress.evse_id IS NOT NULL
           AND (progress.charge_point_id, progress.location_id, progress.timezone, progress.working_hours)
               IS NOT DISTINCT FROM
               (evse.charge_point_id, evse.location_id, location.timezone, location.working_hours) AS is_same,
       progress.days_until_at,
       progress.due_at
  FROM analytics.evse AS evse
  LEFT JOIN analytics.location AS location
    ON location.tenant = :tenant
   AND location.location_id = evse.location_id
  LEFT JOIN analytics.availability_progress AS progress
    ON progress.tenant = :tenant
   AND progress.evse_id = evse.evse_id
 WHERE evse.tenant = :tenant
   AND evse.evse_id = ANY(:evse_ids)
""")


def load_places(work: Work, evse_ids: Sequence[int]) -> dict[int, Place]:
    """Load where EVSEs are, by id; one of which no master data is known is missing."""
    rows = work.connection.execute(_PLACES, {"tenant": work.tenant, "evse_ids": list(evse_ids)})
    return {
        row.evse_id: Place(
            row.evse_id,
            row.charge_point_id,
            row.location_id,
            row.timezone,
            parse_hours(row.working_hours),
            row.is_same,
            row.days_until_at,
            row.due_at,
        )
        for row in rows
    }


def openings_of(places: Iterable[Place]) -> dict[str, Any]:
    """Return the parameters of :data:`analytics.availability.opening_hours.LOCAL_DAYS` for some places."""
    known = {place.location_id: place.openings for place in places if place.openings is not None}
    openings = [
        {"location_id": location_id, **opening._asdict()}
        for location_id, openings in known.items()
        for opening in openings
    ]
    return {"openings": to_json(openings), "locations_with_hours": sorted(filter(None, known))}


#: A common table expression: where the EVSEs are. Parameter: ``places``, JSON.
PLACES = """
place AS MATERIALIZED (
    SELECT evse_id, charge_point_id, location_id, timezone, has_hours, run_since, first_day, last_day
      FROM json_to_recordset(CAST(:places AS json))
           AS place (evse_id bigint, charge_point_id bigint, location_id bigint, timezone text, has_hours boolean,
                     run_since timestamptz, first_day date, last_day date)
)"""


def places_parameter(places: Iterable[Place], more: Mapping[int, Mapping[str, Any]]) -> str:
    """Return the parameter of :data:`PLACES`.

    Parameters:
        places: the places.
        more: further columns of each, by EVSE.
    """
    return to_json(
        [
            {
                "evse_id": place.evse_id,
                "charge_point_id": place.charge_point_id,
                "location_id": place.location_id,
                "timezone": place.timezone,
                "has_hours": place.openings is not None and place.timezone is not None,
                **more.get(place.evse_id, {}),
            }
            for place in places
        ]
    )


# Index: primary keys.
_NOTE = text("""
INSERT INTO analytics.availability_progress AS known
       (tenant, evse_id, charge_point_id, location_id, timezone, working_hours, days_until_at, due_at)
SELECT :tenant, fresh.evse_id, fresh.charge_point_id, fresh.location_id, fresh.timezone, location.working_hours,
       fresh.days_until_at, fresh.due_at
  FROM json_populate_recordset(NULL::analytics.availability_progress, CAST(:rows AS json)) AS fresh
  LEFT JOIN analytics.location AS location
    ON location.tenant = :tenant
   AND location.location_id = fresh.location_id
 ORDER BY fresh.evse_id
    ON CONFLICT (tenant, evse_id) DO UPDATE SET
       charge_point_id = excluded.charge_point_id,
       location_id = excluded.location_id,
       timezone = excluded.timezone,
       working_hours = excluded.working_hours,
       days_until_at = excluded.days_until_at,
       due_at = excluded.due_at
 WHERE (known.charge_point_id, known.location_id, known.timezone, known.working_hours, known.days_until_at,
        known.due_at)
       IS DISTINCT FROM
       (excluded.charge_point_id, excluded.location_id, excluded.timezone, excluded.working_hours,
        excluded.days_until_at, excluded.due_at)
""")

# Index: primary key.
_FORGET = text("""
DELETE FROM analytics.availability_progress
 WHERE tenant = :tenant
   AND evse_id = ANY(:evse_ids)
""")


def note_progress(
    work: Work, places: Mapping[int, Place], dates: Mapping[int, tuple[datetime | None, datetime | None]]
) -> None:
    """Note for which places EVSEs were derived.

    Parameters:
        places: where the EVSEs are, by id.
        dates: the end of the last day that was derived, and when the next one is over, by EVSE.
    """
    rows = [
        {
            "evse_id": evse_id,
            "charge_point_id": place.charge_point_id,
            "location_id": place.location_id,
            "timezone": place.timezone,
            "days_until_at": dates.get(evse_id, (None, None))[0],
            "due_at": dates.get(evse_id, (None, None))[1],
        }
        for evse_id, place in places.items()
    ]
    work.connection.execute(_NOTE, {"tenant": work.tenant, "rows": to_json(rows)})


def forget_progress(work: Work, evse_ids: Sequence[int]) -> None:
    """Delete what is noted of EVSEs of which no master data is known any more."""
    if evse_ids:
        work.connection.execute(_FORGET, {"tenant": work.tenant, "evse_ids": list(evse_ids)})
