"""Read one location, charge point or EVSE for the console, and what happened there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, text

from storage.reports.sessions import RUNNING_OUTCOMES

#: The column of a place in tables that name it.
Place = Literal["location_id", "charge_point_id", "evse_id"]


@dataclass(frozen=True, slots=True)
class LocationDetails:
    """A location as it is; ``deleted_at`` is set if a read did not find it any more."""

    location_id: int
    name: str | None
    status: str | None
    external_id: str | None
    street_address: str | None
    city: str | None
    region: str | None
    post_code: str | None
    country: str | None
    latitude: Decimal | None
    longitude: Decimal | None
    timezone: str | None
    working_hours: Mapping[str, Any] | None
    deleted_at: datetime | None


# Index: the primary key.
_LOCATION = text("""
SELECT location_id, name, status, external_id, street_address, city, region, post_code, country, latitude, longitude,
       timezone, working_hours, deleted_at
  FROM analytics.location
 WHERE tenant = :tenant
   AND location_id = :id
""")


def location_details(connection: Connection, tenant: str, location_id: int) -> LocationDetails | None:
    """Return a location; None if none with this id is known."""
    row = connection.execute(_LOCATION, {"tenant": tenant, "id": location_id}).one_or_none()
    return None if row is None else LocationDetails(*row)


@dataclass(frozen=True, slots=True)
class ChargePointDetails:
    """A charge point as it is, with what it last reported of itself."""

    charge_point_id: int
    name: str | None
    status: str | None
    access_type: str | None
    external_id: str | None
    ocpp_id: str | None
    ocpp_version: str | None
    vendor: str | None
    model: str | None
    firmware_version: str | None
    deleted_at: datetime | None
    location_id: int | None
    location_name: str | None
    network_status: str | None
    network_at: datetime | None
    hardware_status: str | None
    hardware_at: datetime | None
    error_code: str | None
    error_info: str | None
    serial_number: str | None
    booted_at: datetime | None


# Indexes: the primary keys.
_CHARGE_POINT = text("""
SELECT charge_point.charge_point_id, charge_point.name, charge_point.status, charge_point.access_type,
       charge_point.external_id, charge_point.ocpp_id, charge_point.ocpp_version, charge_point.vendor,
       charge_point.model, charge_point.firmware_version, charge_point.deleted_at,
       charge_point.location_id, location.name,
       mirror.network_status, mirror.network_at, mirror.hardware_status, mirror.hardware_at,
       mirror.error_code, mirror.error_info,
       coalesce(mirror.charge_point_serial_number, mirror.charge_box_serial_number), mirror.boot_at
  FROM analytics.charge_point
  LEFT JOIN charging.charge_point AS mirror
         ON mirror.tenant = charge_point.tenant
        AND mirror.charge_point_id = charge_point.charge_point_id
  LEFT JOIN analytics.location
         ON location.tenant = charge_point.tenant
        AND location.location_id = charge_point.location_id
 WHERE charge_point.tenant = :tenant
   AND charge_point.charge_point_id = :id
""")


def charge_point_details(connection: Connection, tenant: str, charge_point_id: int) -> ChargePointDetails | None:
    """Return a charge point; None if none with this id is known."""
    row = connection.execute(_CHARGE_POINT, {"tenant": tenant, "id": charge_point_id}).one_or_none()
    return None if row is None else ChargePointDetails(*row)


@dataclass(frozen=True, slots=True)
class EvseDetails:
    """What a list of EVSEs does not show of one."""

    external_id: str | None
    ocpp_number: str | None
    roaming_evse_id: str | None
    phases: str | None
    connector_types: str | None
    deleted_at: datetime | None
    hardware_status: str | None
    hardware_at: datetime | None
    error_code: str | None
    error_info: str | None


# Indexes: the primary keys.
_EVSE = text("""
SELECT evse.external_id, evse.ocpp_number, evse.roaming_evse_id, evse.phases, evse.connector_types, evse.deleted_at,
       mirror.hardware_status, mirror.hardware_at, mirror.error_code, mirror.error_info
  FROM analytics.evse
  LEFT JOIN charging.evse AS mirror
         ON mirror.tenant = evse.tenant
        AND mirror.evse_id = evse.evse_id
 WHERE evse.tenant = :tenant
   AND evse.evse_id = :id
""")


def evse_details(connection: Connection, tenant: str, evse_id: int) -> EvseDetails | None:
    """Return an EVSE; None if none with this id is known."""
    row = connection.execute(_EVSE, {"tenant": tenant, "id": evse_id}).one_or_none()
    return None if row is None else EvseDetails(*row)


@dataclass(frozen=True, slots=True)
class NetworkChange:
    """A network status that a charge point had from a time on."""

    observed_at: datetime
    network_status: str | None
    source: str
    notification_id: UUID | None


# Index: charge_point_network_observation_tenant_charge_point_id_obser_key, backwards.
_NETWORK = text("""
SELECT observed_at, network_status, source, notification_id
  FROM charging.charge_point_network_observation
 WHERE tenant = :tenant
   AND charge_point_id = :id
 ORDER BY observed_at DESC
 LIMIT :limit
""")


def network_changes(connection: Connection, tenant: str, charge_point_id: int, *, limit: int) -> list[NetworkChange]:
    """Return the latest network statuses of a charge point, the latest first."""
    rows = connection.execute(_NETWORK, {"tenant": tenant, "id": charge_point_id, "limit": limit})
    return [NetworkChange(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Boot:
    """A boot of a charge point, and what it reported otherwise than before."""

    booted_at: datetime
    changed_from: Mapping[str, Any]
    changed_to: Mapping[str, Any]
    source: str
    notification_id: UUID | None


# Index: the unique constraint of what the view reads.
_BOOTS = text("""
SELECT fact_at, changed_from, changed_to, source, notification_id
  FROM charging.master_revision
 WHERE tenant = :tenant
   AND kind = 'charge_point'
   AND entity_id = :id
   AND column_group = 'boot'
 ORDER BY fact_at DESC
 LIMIT :limit
""")


def boots(connection: Connection, tenant: str, charge_point_id: int, *, limit: int) -> list[Boot]:
    """Return the latest boots of a charge point, the latest first."""
    return [Boot(*row) for row in connection.execute(_BOOTS, {"tenant": tenant, "id": charge_point_id, "limit": limit})]


@dataclass(frozen=True, slots=True)
class Downtime:
    """A time in which AMPECO counts an EVSE, or with no EVSE the whole charge point, as down or as exempt."""

    downtime_period_id: int
    evse_id: int | None
    type: str | None
    entry_mode: str | None
    notice: str | None
    started_at: datetime | None
    ended_at: datetime | None


# Index: downtime_period_tenant_charge_point_id_started_at_idx, backwards.
_DOWNTIMES = text("""
SELECT downtime_period_id, evse_id, type, entry_mode, notice, started_at, ended_at
  FROM analytics.downtime_period
 WHERE tenant = :tenant
   AND charge_point_id = :id
   AND deleted_at IS NULL
 ORDER BY started_at DESC
 LIMIT :limit
""")


def downtimes(connection: Connection, tenant: str, charge_point_id: int, *, limit: int) -> list[Downtime]:
    """Return the latest downtime periods of a charge point and its EVSEs, the latest first."""
    rows = connection.execute(_DOWNTIMES, {"tenant": tenant, "id": charge_point_id, "limit": limit})
    return [Downtime(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class RecentOutage:
    """A time in which an EVSE was down; ``ended_at`` is None while it lasts."""

    evse_id: int
    began_at: datetime
    ended_at: datetime | None
    cause: str
    error_code: str | None
    excluded_s: int | None
    session_before_id: int | None
    session_after_id: int | None


# Index: the primary key, backwards.
_OUTAGES = text("""
SELECT name.evse_id, outage.began_at, outage.ended_at, outage.cause, outage.error_code, outage.excluded_s,
       outage.session_before_id, outage.session_after_id
  FROM unnest(CAST(:evse_ids AS bigint[])) AS name (evse_id)
 CROSS JOIN LATERAL (
       SELECT began_at, nullif(ended_at, 'infinity') AS ended_at, cause, error_code, excluded_s, session_before_id,
              session_after_id
         FROM analytics.outage
        WHERE outage.tenant = :tenant
          AND outage.evse_id = name.evse_id
        ORDER BY outage.began_at DESC
        LIMIT :limit) AS outage
 ORDER BY outage.began_at DESC
 LIMIT :limit
""")


def outages(connection: Connection, tenant: str, evse_ids: Collection[int], *, limit: int) -> list[RecentOutage]:
    """Return the latest outages of EVSEs, the latest first."""
    parameters = {"tenant": tenant, "evse_ids": list(evse_ids), "limit": limit}
    return [RecentOutage(*row) for row in connection.execute(_OUTAGES, parameters)]


@dataclass(frozen=True, slots=True)
class RecentExclusion:
    """A time of an outage that does not count as down; ``ended_at`` is None while both last."""

    evse_id: int
    began_at: datetime
    ended_at: datetime | None
    source: str
    source_id: int
    reason: str | None


# Index: exclusion_tenant_evse_id_ended_at_idx, backwards.
_EXCLUSIONS = text("""
SELECT name.evse_id, exclusion.began_at, nullif(exclusion.ended_at, 'infinity'), exclusion.source,
       exclusion.source_id, exclusion.reason
  FROM unnest(CAST(:evse_ids AS bigint[])) AS name (evse_id)
 CROSS JOIN LATERAL (
       SELECT began_at, ended_at, source, source_id, reason
         FROM analytics.exclusion
        WHERE exclusion.tenant = :tenant
          AND exclusion.evse_id = name.evse_id
        ORDER BY exclusion.ended_at DESC
        LIMIT :limit) AS exclusion
 ORDER BY exclusion.ended_at DESC
 LIMIT :limit
""")


def exclusions(connection: Connection, tenant: str, evse_ids: Collection[int], *, limit: int) -> list[RecentExclusion]:
    """Return the latest exclusions of EVSEs, the latest first."""
    parameters = {"tenant": tenant, "evse_ids": list(evse_ids), "limit": limit}
    return [RecentExclusion(*row) for row in connection.execute(_EXCLUSIONS, parameters)]


@dataclass(frozen=True, slots=True)
class PlaceSession:
    """A session at a place; energy in Wh."""

    session_id: int
    evse_id: int | None
    evse_label: str | None
    started_at: datetime
    stopped_at: datetime | None
    connected_s: int | None
    outcome: str | None
    energy_wh: Decimal | None
    amount_with_tax: Decimal | None
    currency: str | None
    removed_at: datetime | None

    @property
    def is_running(self) -> bool:
        """Whether it runs or is pending."""
        return self.stopped_at is None and self.outcome in RUNNING_OUTCOMES


# Indexes: session_tenant_location_id_started_at_idx and those of the charge point and the EVSE, backwards.
_SESSIONS = {
    place: text(f"""
SELECT session_id, evse_id, evse_label, started_at, stopped_at, connected_s, outcome, energy_wh, amount_with_tax,
       currency, removed_at
  FROM analytics.session
 WHERE tenant = :tenant
   AND {place} = :id
   AND started_at IS NOT NULL
 ORDER BY started_at DESC
 LIMIT :limit
""")  # noqa: S608 - the names are the ones below
    for place in ("location_id", "charge_point_id", "evse_id")
}


def recent_sessions(
    connection: Connection, tenant: str, place: Place, place_id: int, *, limit: int
) -> list[PlaceSession]:
    """Return the latest sessions at a place, the latest first."""
    rows = connection.execute(_SESSIONS[place], {"tenant": tenant, "id": place_id, "limit": limit})
    return [PlaceSession(*row) for row in rows]
