"""List a tenant's EVSEs with their places and present states, for the console."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text


@dataclass(frozen=True, slots=True)
class EvseFilter:
    """Which EVSEs are asked for; None: all.

    Attributes:
        state: their present state.
        location_id, charge_point_id: where they are.
        network_status: the network status of their charge point; an empty text: never reported.
        text: a part of a name or an external id of the EVSE, its charge point or its location, of an OCPP id or of an
            EVSE id in roaming; or the whole id of the EVSE.
    """

    state: str | None = None
    location_id: int | None = None
    charge_point_id: int | None = None
    network_status: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class ListedEvse:
    """An EVSE with its place and its present state; names are None where AMPECO shows none."""

    evse_id: int
    label: str | None
    status: str | None
    current_type: str | None
    max_power_w: int | None
    connector_types: str | None
    charge_point_id: int | None
    charge_point_name: str | None
    ocpp_id: str | None
    network_status: str | None
    location_id: int | None
    location_name: str | None
    city: str | None
    state: str
    since_at: datetime | None


_COLUMNS = """
       evse.evse_id, evse.label, evse.status, evse.current_type, evse.max_power_w, evse.connector_types,
       evse.charge_point_id, charge_point.name AS charge_point_name, charge_point.ocpp_id, mirror.network_status,
       evse.location_id, location.name AS location_name, location.city, coalesce(present.state, 'unknown') AS state"""

_PLACES = """
  FROM analytics.evse
  LEFT JOIN analytics.charge_point
         ON charge_point.tenant = evse.tenant
        AND charge_point.charge_point_id = evse.charge_point_id
  LEFT JOIN charging.charge_point AS mirror
         ON mirror.tenant = evse.tenant
        AND mirror.charge_point_id = evse.charge_point_id
  LEFT JOIN analytics.location
         ON location.tenant = evse.tenant
        AND location.location_id = evse.location_id
  LEFT JOIN analytics.evse_state_interval AS present
         ON present.tenant = evse.tenant
        AND present.evse_id = evse.evse_id
        AND present.ended_at = 'infinity'
 WHERE evse.tenant = :tenant"""

#: The order of the list: by location, then by charge point. The ids part those of one name.
_ORDER = (
    "coalesce(location.name, ''), coalesce(evse.location_id, 0), coalesce(charge_point.name, ''),"
    " coalesce(evse.charge_point_id, 0), evse.evse_id"
)

# A stretch also ends when only its evidence changes, so the state began when another one ended last.
_SINCE = """
SELECT chosen.*,
       coalesce((SELECT other.ended_at
                   FROM analytics.evse_state_interval AS other
                  WHERE other.tenant = :tenant
                    AND other.evse_id = chosen.evse_id
                    AND other.state <> chosen.state
                    AND other.ended_at < 'infinity'
                  ORDER BY other.ended_at DESC
                  LIMIT 1),
                (SELECT first.began_at
                   FROM analytics.evse_state_interval AS first
                  WHERE first.tenant = :tenant
                    AND first.evse_id = chosen.evse_id
                  ORDER BY first.began_at
                  LIMIT 1)) AS since_at
  FROM chosen"""

# Indexes: the primary keys, of a tenant's EVSEs as a whole, because a name may be anywhere in the order;
# evse_state_interval_open_idx, and evse_state_interval_tenant_evse_id_ended_at_key for those that are returned.
_LIST = text(f"""
WITH chosen AS (
SELECT {_COLUMNS}, row_number() OVER (ORDER BY {_ORDER}) AS place
{_PLACES}
   AND evse.deleted_at IS NULL
   AND (CAST(:state AS text) IS NULL OR coalesce(present.state, 'unknown') = :state)
   AND (CAST(:location_id AS bigint) IS NULL OR evse.location_id = :location_id)
   AND (CAST(:charge_point_id AS bigint) IS NULL OR evse.charge_point_id = :charge_point_id)
   AND (CAST(:network_status AS text) IS NULL OR coalesce(mirror.network_status, '') = :network_status)
   AND (CAST(:text AS text) IS NULL
        OR CAST(evse.evse_id AS text) = :text
        OR position(lower(:text) IN lower(concat_ws(chr(10),
               evse.label, evse.external_id, evse.roaming_evse_id, charge_point.name, charge_point.external_id,
               charge_point.ocpp_id, location.name, location.external_id, location.city))) > 0)
   AND (CAST(:after AS bigint) IS NULL
        OR ({_ORDER}) > (SELECT {_ORDER} {_PLACES} AND evse.evse_id = :after))
 ORDER BY {_ORDER}
 LIMIT :limit
)
{_SINCE}
 ORDER BY chosen.place
""")

# Indexes: the primary keys, evse_state_interval_tenant_evse_id_ended_at_key.
_SOME = text(f"""
WITH chosen AS (
SELECT {_COLUMNS}, row_number() OVER (ORDER BY {_ORDER}) AS place
{_PLACES}
   AND evse.evse_id = ANY(:evse_ids)
)
{_SINCE}
 ORDER BY chosen.place
""")


def list_evses(
    connection: Connection, tenant: str, chosen: EvseFilter, *, after: int | None, limit: int
) -> list[ListedEvse]:
    """Return a tenant's EVSEs that exist, in the order of locations and charge points.

    Parameters:
        chosen: which ones.
        after: the EVSE after which to begin; None: the first one.
        limit: the most EVSEs.
    """
    parameters = {
        "tenant": tenant,
        "state": chosen.state,
        "location_id": chosen.location_id,
        "charge_point_id": chosen.charge_point_id,
        "network_status": chosen.network_status,
        "text": chosen.text,
        "after": after,
        "limit": limit,
    }
    return [_listed(row) for row in connection.execute(_LIST, parameters)]


def some_evses(connection: Connection, tenant: str, evse_ids: Collection[int]) -> list[ListedEvse]:
    """Return these EVSEs, in the same order, also those that are gone."""
    rows = connection.execute(_SOME, {"tenant": tenant, "evse_ids": list(evse_ids)})
    return [_listed(row) for row in rows]


def _listed(row: Row[Any]) -> ListedEvse:
    columns = row._asdict()
    del columns["place"]
    return ListedEvse(**columns)


@dataclass(frozen=True, slots=True)
class FleetSize:
    """How many of each a tenant has, without those that are gone.

    Attributes:
        networks: how many charge points have each network status; an empty text: never reported.
    """

    locations: int
    networks: dict[str, int]

    @property
    def charge_points(self) -> int:
        """How many charge points there are."""
        return sum(self.networks.values())


# Index: the primary key.
_LOCATIONS = text("SELECT count(*) FROM analytics.location WHERE tenant = :tenant AND deleted_at IS NULL")

# Index: the primary key.
_NETWORKS = text("""
SELECT coalesce(network_status, '') AS network_status, count(*)
  FROM charging.charge_point
 WHERE tenant = :tenant
   AND deleted_at IS NULL
 GROUP BY 1
 ORDER BY 2 DESC
""")


def fleet_size(connection: Connection, tenant: str) -> FleetSize:
    """Return how large a tenant's fleet is."""
    parameters = {"tenant": tenant}
    return FleetSize(
        connection.execute(_LOCATIONS, parameters).scalar_one(),
        {status: count for status, count in connection.execute(_NETWORKS, parameters)},  # noqa: C416 - a row is no pair for the type checker
    )


@dataclass(frozen=True, slots=True)
class ListedLocation:
    """A location with its place on the map and the states of its EVSEs; no coordinates: AMPECO gives none."""

    location_id: int
    name: str | None
    city: str | None
    country: str | None
    latitude: float | None
    longitude: float | None
    states: dict[str, int]


# Indexes: the primary keys, evse_state_interval_open_idx.
_LISTED_LOCATIONS = text("""
WITH states AS (
SELECT by_state.location_id, jsonb_object_agg(by_state.state, by_state.evses) AS states
  FROM (SELECT evse.location_id, coalesce(present.state, 'unknown') AS state, count(*) AS evses
          FROM analytics.evse
          LEFT JOIN analytics.evse_state_interval AS present
                 ON present.tenant = evse.tenant
                AND present.evse_id = evse.evse_id
                AND present.ended_at = 'infinity'
         WHERE evse.tenant = :tenant
           AND evse.deleted_at IS NULL
         GROUP BY 1, 2) AS by_state
 GROUP BY 1
)
SELECT location.location_id, location.name, location.city, location.country,
       CAST(location.latitude AS float8), CAST(location.longitude AS float8), coalesce(states.states, '{}')
  FROM analytics.location
  LEFT JOIN states ON states.location_id = location.location_id
 WHERE location.tenant = :tenant
   AND location.deleted_at IS NULL
 ORDER BY coalesce(location.name, ''), location.location_id
 LIMIT :limit
""")


def list_locations(connection: Connection, tenant: str, *, limit: int) -> list[ListedLocation]:
    """Return a tenant's locations that exist, by name."""
    rows = connection.execute(_LISTED_LOCATIONS, {"tenant": tenant, "limit": limit})
    return [ListedLocation(*row) for row in rows]
