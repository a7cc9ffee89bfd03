"""Derive master data: locations, charge points, EVSEs and tariffs as they are, and as they were.

``charging`` holds the present values, and ``charging.master_observation`` what each fact said. Versions are these
observations in the order of their facts' clocks, so they are the same whatever the order in which they arrived.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, text

from analytics.schema.derived import limit_of
from analytics.schema.master import charge_point, evse, location, master_version, tariff
from analytics.scope import Scope, merged, parts, whole
from analytics.writing import Work
from storage.state.marks import STATUS, STATUS_KINDS
from storage.state.version import is_provisional_sql

#: The most entities whose versions are derived together.
MAX_ENTITIES = 1_000

#: The ends of time, as Postgres spells them.
BEGINNING, OPEN = "-infinity", "infinity"

#: The time of what is known without one.
UNTIMED = datetime.min.replace(tzinfo=UTC)


def derive(work: Work) -> None:
    """Derive the master data that was marked, and the EVSEs and charge points that show something of it."""
    marked = {kind: _marked(work, kind) for kind in VERSIONS}
    locations = marked["location"]
    zones = _known_zones(work, locations)
    work.write_query(location, locations, _LOCATIONS, {"zones": zones})
    evses = merged(
        marked["evse"],
        whole(_children(work, _EVSES_OF, marked["charge_point"])),
        whole(_children(work, _EVSES_OF_CONNECTORS, work.marks("connector"))),
    )
    charge_points = merged(
        marked["charge_point"],
        whole(_children(work, _CHARGE_POINTS_OF, evses)),
        whole(_children(work, _CHARGE_POINTS_OF_MODELS, work.marks("charge_point_model"))),
        whole(_children(work, _CHARGE_POINTS_OF_VENDORS, work.marks("charge_point_vendor"))),
    )
    work.write_query(charge_point, charge_points, _CHARGE_POINTS)
    work.write_query(evse, evses, _EVSES)
    work.write_query(tariff, marked["tariff"], _TARIFFS)
    for kind, scope in marked.items():
        work.changed[f"{kind}_version"] = _derive_versions(work, kind, scope)


def _marked(work: Work, kind: str) -> Scope:
    """Return the entities of a kind that were marked, and those of which a status shows more than itself."""
    shown = _children(work, _SHOWN_BY_STATUS[kind], work.marks(f"{kind}{STATUS}")) if kind in _SHOWN_BY_STATUS else []
    return whole((*work.marks(kind), *shown))


_PARENTS = {"evse": "charge_point_id", "charge_point": "location_id"}

# Index: primary keys. Until an EVSE is read, its statuses alone show that it exists, and its charge point.
_SHOWN_BY_STATUS = {
    kind: text(f"""
SELECT stored.{kind}_id
  FROM charging.{kind} AS stored
 WHERE stored.tenant = :tenant
   AND stored.{kind}_id = ANY(:ids)
   AND NOT EXISTS (
       SELECT FROM analytics.{kind} AS known
        WHERE known.tenant = :tenant
          AND known.{kind}_id = stored.{kind}_id
          AND known.{_PARENTS[kind]} IS NOT DISTINCT FROM stored.{_PARENTS[kind]})
""")  # noqa: S608 - the names are ours
    for kind in STATUS_KINDS
}


def _children(work: Work, statement: Any, scope: Scope) -> list[int]:
    if not scope:
        return []
    return list(work.connection.execute(statement, {"tenant": work.tenant, "ids": sorted(scope)}).scalars())


# Index: evse_tenant_charge_point_id_idx.
_EVSES_OF = text("""
SELECT evse_id
  FROM charging.evse
 WHERE tenant = :tenant
   AND charge_point_id = ANY(:ids)
""")

_CONNECTOR_TYPES = """(
       SELECT string_agg(DISTINCT connector.type, ', ' ORDER BY connector.type)
         FROM charging.connector AS connector
        WHERE connector.tenant = :tenant
          AND connector.evse_id = evse.evse_id
          AND connector.deleted_at IS NULL)"""

# Index: connector_tenant_evse_id_idx. Connectors hardly ever change: the EVSEs of a tenant are scanned. So the EVSE of
# which a connector was a part before is found, too.
_EVSES_OF_CONNECTORS = text(f"""
SELECT evse.evse_id
  FROM analytics.evse AS evse
 WHERE evse.tenant = :tenant
   AND cardinality(CAST(:ids AS bigint[])) > 0
   AND evse.connector_types IS DISTINCT FROM {_CONNECTOR_TYPES}
""")  # noqa: S608 - the names are ours

# Index: primary key. What is derived shows the charge point of which an EVSE was a part before.
_CHARGE_POINTS_OF = text("""
SELECT charge_point_id
  FROM charging.evse
 WHERE tenant = :tenant
   AND evse_id = ANY(:ids)
   AND charge_point_id IS NOT NULL
 UNION
SELECT charge_point_id
  FROM analytics.evse
 WHERE tenant = :tenant
   AND evse_id = ANY(:ids)
   AND charge_point_id IS NOT NULL
""")

# Models are few, and hardly ever change: the charge points of a tenant are scanned.
_CHARGE_POINTS_OF_MODELS = text("""
SELECT charge_point_id
  FROM charging.charge_point
 WHERE tenant = :tenant
   AND model_id = ANY(:ids)
""")

_CHARGE_POINTS_OF_VENDORS = text("""
SELECT charge_point.charge_point_id
  FROM charging.charge_point_model AS model
  JOIN charging.charge_point AS charge_point
    ON charge_point.tenant = :tenant
   AND charge_point.model_id = model.charge_point_model_id
 WHERE model.tenant = :tenant
   AND model.vendor_id = ANY(:ids)
""")

_LOCATIONS = """
SELECT location.location_id,
       location.name,
       location.status,
       location.external_id,
       location.street_address,
       location.city,
       location.region,
       location.post_code,
       location.country,
       location.latitude,
       location.longitude,
       CASE WHEN location.timezone = ANY(CAST(:zones AS text[])) THEN location.timezone END AS timezone,
       CASE WHEN location.working_hours -> 'isAlwaysOpen' = 'false' THEN location.working_hours -> 'hours' END
           AS working_hours,
       location.roaming_operator_id,
       location.deleted_at
  FROM scope
  JOIN charging.location AS location
    ON location.tenant = :tenant
   AND location.location_id = scope.entity_id
"""

_CHARGE_POINTS = """
SELECT charge_point.charge_point_id,
       charge_point.location_id,
       charge_point.name,
       charge_point.status,
       charge_point.access_type,
       charge_point.external_id,
       charge_point.network_id AS ocpp_id,
       charge_point.network_protocol AS ocpp_version,
       coalesce(charge_point.boot_vendor, vendor.name) AS vendor,
       coalesce(charge_point.boot_model, model.name) AS model,
       charge_point.firmware_version,
       charge_point.partner_id,
       charge_point.roaming_operator_id,
       evses.evse_count,
       evses.max_power_w,
       charge_point.uptime_tracking_activated_at AS uptime_tracked_since,
       charge_point.deleted_at
  FROM scope
  JOIN charging.charge_point AS charge_point
    ON charge_point.tenant = :tenant
   AND charge_point.charge_point_id = scope.entity_id
  LEFT JOIN charging.charge_point_model AS model
    ON model.tenant = :tenant
   AND model.charge_point_model_id = charge_point.model_id
  LEFT JOIN charging.charge_point_vendor AS vendor
    ON vendor.tenant = :tenant
   AND vendor.charge_point_vendor_id = model.vendor_id
 CROSS JOIN LATERAL (
       SELECT count(*) AS evse_count, max(evse.max_power_w) AS max_power_w
         FROM charging.evse AS evse
        WHERE evse.tenant = :tenant
          AND evse.charge_point_id = scope.entity_id
          AND evse.deleted_at IS NULL) AS evses
"""

_EVSES = f"""
SELECT evse.evse_id,
       evse.charge_point_id,
       charge_point.location_id,
       coalesce(evse.label, evse.physical_reference) AS label,
       evse.status,
       evse.external_id,
       evse.network_id AS ocpp_number,
       evse.roaming_evse_id,
       evse.current_type,
       evse.max_power_w,
       evse.phases,
       {_CONNECTOR_TYPES} AS connector_types,
       evse.tariff_group_id,
       evse.roaming_operator_id,
       charge_point.uptime_tracking_activated_at AS uptime_tracked_since,
       evse.deleted_at
  FROM scope
  JOIN charging.evse AS evse
    ON evse.tenant = :tenant
   AND evse.evse_id = scope.entity_id
  LEFT JOIN charging.charge_point AS charge_point
    ON charge_point.tenant = :tenant
   AND charge_point.charge_point_id = evse.charge_point_id
"""  # noqa: S608 - the names are ours

_TARIFFS = """
SELECT tariff.tariff_id,
       tariff.name,
       tariff.type,
       tariff.currency,
       tariff.price_per_kwh,
       tariff.price_per_session,
       tariff.connection_fee,
       tariff.idle_fee_per_minute,
       tariff.min_price,
       tariff.partner_id,
       tariff.deleted_at
  FROM scope
  JOIN charging.tariff AS tariff
    ON tariff.tenant = :tenant
   AND tariff.tariff_id = scope.entity_id
"""

_ZONES_OF = text("""
SELECT DISTINCT timezone
  FROM charging.location
 WHERE tenant = :tenant
   AND location_id = ANY(:ids)
   AND timezone IS NOT NULL
""")


def _known_zones(work: Work, locations: Scope) -> list[str]:
    """Return those of the locations' time zones that Postgres knows: an unknown one would be an error everywhere."""
    if not locations:
        return []
    zones = work.connection.execute(_ZONES_OF, {"tenant": work.tenant, "ids": sorted(locations)}).scalars()
    return [zone for zone in zones if zone in _zones_of_server(work.connection)]


def _zones_of_server(connection: Connection) -> set[str]:
    # Listing the zones takes a tenth of a second, so it is done once by a process.
    if not _ZONES:
        _ZONES.update(connection.execute(text("SELECT name FROM pg_timezone_names")).scalars())
    return _ZONES


_ZONES: set[str] = set()

#: The columns of ``charging`` from which the versions of each kind are made, by the column of the version; of several,
#: the first one that has a value.
VERSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "location": {"name": ("name",), "status": ("status",), "timezone": ("timezone",)},
    "charge_point": {
        "name": ("name",),
        "status": ("status",),
        "location_id": ("location_id",),
        "access_type": ("access_type",),
        "firmware_version": ("firmware_version",),
    },
    "evse": {
        "name": ("label", "physical_reference"),
        "status": ("status",),
        "charge_point_id": ("charge_point_id",),
        "current_type": ("current_type",),
        "max_power_w": ("max_power_w",),
        "tariff_group_id": ("tariff_group_id",),
    },
    "tariff": {
        "name": ("name",),
        "currency": ("currency",),
        "price_per_kwh": ("price_per_kwh",),
        "price_per_session": ("price_per_session",),
    },
}


def _derive_versions(work: Work, kind: str, scope: Scope) -> Scope:
    """Derive the versions of entities; return which changed, each with the time from which on."""
    changed: Scope = {}
    for part in parts(sorted(scope), MAX_ENTITIES):
        observations: dict[int, list[tuple[datetime, dict[str, Any]]]] = {}
        parameters = {"tenant": work.tenant, "kind": kind, "ids": part, "columns": list(_sources(kind))}
        for entity_id, at, tracked in work.connection.execute(_OBSERVATIONS, parameters):
            observations.setdefault(entity_id, []).append((at, tracked))
        present = work.connection.execute(text(_present(kind)), {"tenant": work.tenant, "ids": part}).all()
        rows = [
            {"kind": kind, "entity_id": entity_id, **version}
            for entity_id, values in present
            # Until a fact with a time shows an entity, nothing but its row is known.
            for version in versions(kind, observations.get(entity_id) or [(UNTIMED, values)])
        ]
        changed |= work.write_rows(master_version, whole(part), rows, among=f"known.kind = '{kind}'")
    return changed


@cache
def _sources(kind: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(source for sources in VERSIONS[kind].values() for source in sources))


@cache
def _present(kind: str) -> str:
    """Return the query of the present values, spelled as in observations. Index: primary key."""
    members = ", ".join(f"'{source}', {source}" for source in _sources(kind))
    return f"""
SELECT {kind}_id, jsonb_build_object({members})
  FROM charging.{kind}
 WHERE tenant = :tenant
   AND {kind}_id = ANY(:ids)
"""  # noqa: S608 - the names are ours


# Index: the unique constraint. Many reads show what the one before showed, so they are left out here. A provisional
# fact lacks columns, so its nulls say nothing. If a complete fact follows it, it counts only as the first of all.
_OBSERVATIONS = text(f"""
SELECT entity_id, fact_at, tracked
  FROM (SELECT entity_id, fact_at, fact_version, digest, tracked,
               lag(tracked) OVER (PARTITION BY entity_id, column_group ORDER BY fact_at, fact_version, digest) AS former
          FROM (SELECT observation.entity_id,
                       observation.column_group,
                       observation.fact_at,
                       observation.fact_version,
                       observation.digest,
                       shown.tracked,
                       is_provisional,
                       row_number() OVER earlier AS place,
                       bool_or(NOT is_provisional) OVER (earlier ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)
                           AS is_completed
                  FROM charging.master_observation AS observation
                 CROSS JOIN LATERAL (
                       SELECT {is_provisional_sql("observation.fact_version")}) AS version (is_provisional)
                 CROSS JOIN LATERAL (
                       SELECT jsonb_object_agg(name, observation.tracked -> name) AS tracked
                         FROM unnest(CAST(:columns AS text[])) AS described (name)
                        WHERE observation.tracked ? name
                          AND NOT (is_provisional AND observation.tracked -> name = 'null')) AS shown
                 WHERE observation.tenant = :tenant
                   AND observation.kind = :kind
                   AND observation.entity_id = ANY(:ids)
                   AND observation.column_group IN ('master', 'boot')
                WINDOW earlier AS (
                       PARTITION BY observation.entity_id, observation.column_group
                           ORDER BY observation.fact_at, observation.fact_version, observation.digest)) AS placed
         WHERE tracked IS NOT NULL
           AND (place = 1 OR NOT is_provisional OR is_completed IS NOT TRUE)) AS compared
 WHERE tracked IS DISTINCT FROM former
 ORDER BY entity_id, fact_at, fact_version, digest
""")  # noqa: S608 - the conditions are ours


def versions(kind: str, observations: Sequence[tuple[datetime, Mapping[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield the versions of one entity, oldest first.

    What each column was first counts from the beginning of time on. Of several observations of one time the last one
    counts.

    Parameters:
        kind: its kind.
        observations: the time and the values of each observation, by the columns of ``charging``, in the order of
            their facts; at least one.
    """
    shown: dict[datetime, dict[str, Any]] = {}
    for at, tracked in observations:
        shown[at] = {**shown.get(at, {}), **tracked}
    values: dict[str, Any] = {}
    for tracked in reversed(shown.values()):
        values |= tracked
    columns = _columns(kind, values)
    valid_from: datetime | str = BEGINNING
    for at, tracked in shown.items():
        values |= tracked
        after = _columns(kind, values)
        if after != columns:
            yield _version(columns, valid_from, at)
            columns, valid_from = after, at
    yield _version(columns, valid_from, OPEN)


def _version(columns: dict[str, Any], valid_from: datetime | str, valid_to: datetime | str) -> dict[str, Any]:
    return {**columns, "valid_from": valid_from, "valid_to": valid_to, "is_initial": valid_from == BEGINNING}


def _columns(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    columns = {
        name: next((values[source] for source in sources if values.get(source) is not None), None)
        for name, sources in VERSIONS[kind].items()
    }
    return {name: _within(name, value) for name, value in columns.items()}


def _within(name: str, value: Any) -> Any:
    """Return a value, or None if it is a number that its column cannot hold."""
    limit = limit_of(master_version.table.columns[name].type)
    return None if limit is not None and isinstance(value, int | float) and not abs(value) < limit else value
