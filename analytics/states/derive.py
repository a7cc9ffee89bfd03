"""Load what is known of EVSEs, and derive their states from it: master data, covered periods and observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from analytics.schema.evse_state import evse_state_interval
from analytics.scope import Scope, merged, parts, scope_json, scope_sql, widen
from analytics.states.stretches import Evse, Observation, Period, stretches
from analytics.writing import Work
from storage.documents import to_json
from storage.ids import made_at
from storage.state.clocks import is_ahead

#: The most EVSEs that are derived together, from the time of a change on or as a whole: the history of one may have a
#: hundred thousand observations.
MAX_RECENT = 500
MAX_WHOLE = 10


def derive(work: Work, gaps: Sequence[Period], since_new_gap: datetime | None) -> None:
    """Derive the states of the EVSEs that changed, themselves or with their charge points.

    Parameters:
        gaps: the periods without a receiver, oldest first.
        since_new_gap: since when all EVSEs are derived, because a receiver has come or gone; None: it has not.
    """
    charge_points = merged(work.marks("charge_point"), work.marks("charge_point_status"))
    scope = merged(work.marks("evse"), work.marks("evse_status"), evses_of(work, charge_points))
    if since_new_gap is not None:
        for evse_id in work.connection.execute(_ALL_EVSES, {"tenant": work.tenant}).scalars():
            widen(scope, evse_id, since_new_gap)
    if scope:
        _derive(work, scope, gaps)


def evses_of(work: Work, charge_points: Scope) -> Scope:
    """Return the EVSEs of charge points that changed, each with the time of the change."""
    if not charge_points:
        return {}
    rows = work.connection.execute(_EVSES_OF, {"tenant": work.tenant, "charge_point_ids": sorted(charge_points)})
    return {evse_id: charge_points[charge_point_id] for evse_id, charge_point_id in rows}


# Index: evse_tenant_charge_point_id_idx.
_EVSES_OF = text("""
SELECT evse_id, charge_point_id
  FROM charging.evse
 WHERE tenant = :tenant
   AND charge_point_id = ANY(:charge_point_ids)
""")

_ALL_EVSES = text("SELECT evse_id FROM charging.evse WHERE tenant = :tenant")


def _derive(work: Work, scope: Scope, gaps: Sequence[Period]) -> None:
    evses = _load_evses(work.connection, work.tenant, scope)
    unknown = [evse_id for evse_id in sorted(scope) if evse_id not in evses or evses[evse_id].starts_at is None]
    recent = sorted(scope.keys() - set(unknown))
    for part in (*parts(unknown, MAX_WHOLE), *parts(recent, MAX_RECENT)):
        known = {evse_id: evses[evse_id] for evse_id in part if evse_id in evses}
        _add_observations(work.connection, work.tenant, known)
        rows = [row for evse in known.values() for row in stretches(evse, gaps)]
        limits = {evse_id: known[evse_id].starts_at if evse_id in known else None for evse_id in part}
        work.write_rows(evse_state_interval, limits, rows)
        for evse in known.values():
            evse.observations.clear()
    # After the stretches are written: the next round compares what it loads with what they were derived from.
    _note_progress(work, evses)


# Indexes: primary keys; that of evse_state_interval backwards from the time of the change; the unique constraint of
# evse_status_observation. If status logs cover more than before, the stretches from the former end of the covered
# period on change, too. An EVSE may be younger than what is known of its charge point, and its creation be read late.
_EVSES = text(f"""
SELECT evse.evse_id,
       evse.charge_point_id,
       evse.deleted_at,
       existence.began_at AS exists_from_at,
       covered.began_at AS covered_from_at,
       covered.ended_at AS covered_until_at,
       progress.evse_id IS NOT NULL
           AND progress.charge_point_id IS NOT DISTINCT FROM evse.charge_point_id
           AND progress.covered_from_at IS NOT DISTINCT FROM covered.began_at
           AND coalesce(progress.covered_until_at <= covered.ended_at, true)
           AND coalesce(existence.began_at <= first.began_at, true) AS continues,
       before.began_at,
       before.previous_ended_at
  FROM {scope_sql()}
  JOIN charging.evse AS evse
    ON evse.tenant = :tenant
   AND evse.evse_id = scope.entity_id
  LEFT JOIN charging.charge_point AS charge_point
    ON charge_point.tenant = :tenant
   AND charge_point.charge_point_id = evse.charge_point_id
  LEFT JOIN analytics.evse_progress AS progress
    ON progress.tenant = :tenant
   AND progress.evse_id = scope.entity_id
  LEFT JOIN LATERAL (
       SELECT greatest(evse.hardware_covered_from_at, charge_point.network_covered_from_at) AS began_at,
              least(evse.hardware_log_at, charge_point.network_log_at) AS ended_at
        WHERE evse.hardware_covered_from_at IS NOT NULL
          AND evse.hardware_log_at IS NOT NULL
          AND charge_point.network_covered_from_at IS NOT NULL
          AND charge_point.network_log_at IS NOT NULL) AS covered ON covered.began_at < covered.ended_at
  LEFT JOIN LATERAL (
       SELECT known.began_at, known.previous_ended_at
         FROM analytics.evse_state_interval AS known
        WHERE known.tenant = :tenant
          AND known.evse_id = scope.entity_id
          AND known.began_at < CASE
              WHEN progress.covered_until_at < covered.ended_at THEN least(scope.since, progress.covered_until_at)
              ELSE scope.since
              END
        ORDER BY known.began_at DESC
        LIMIT 1) AS before ON true
  LEFT JOIN LATERAL (
       SELECT known.began_at
         FROM analytics.evse_state_interval AS known
        WHERE known.tenant = :tenant
          AND known.evse_id = scope.entity_id
        ORDER BY known.began_at
        LIMIT 1) AS first ON true
  LEFT JOIN LATERAL (
       SELECT least(evse.created_at, min(own.observed_at)) AS began_at
         FROM charging.evse_status_observation AS own
        WHERE own.tenant = :tenant
          AND own.evse_id = scope.entity_id) AS existence ON evse.created_at IS NOT NULL
""")  # noqa: S608 - the names are ours


def _load_evses(connection: Connection, tenant: str, scope: Mapping[int, datetime | None]) -> dict[int, Evse]:
    """Load what is known of EVSEs, by id, without their observations.

    Parameters:
        scope: the ids, each with the time of the change; None: derive everything.
    """
    evses: dict[int, Evse] = {}
    for row in connection.execute(_EVSES, {"tenant": tenant, "scope": scope_json(scope)}):
        is_covered = row.covered_from_at is not None
        evses[row.evse_id] = Evse(
            row.evse_id,
            row.charge_point_id,
            # The words of another charge point, and another covered period, change all stretches.
            row.began_at if row.continues else None,
            row.previous_ended_at if row.continues else None,
            row.deleted_at,
            row.exists_from_at,
            covered=[Period(row.covered_from_at, row.covered_until_at)] if is_covered else [],
        )
    return evses


# Index: primary key.
_NOTE_PROGRESS = text("""
INSERT INTO analytics.evse_progress AS known (tenant, evse_id, charge_point_id, covered_from_at, covered_until_at)
SELECT :tenant, evse_id, charge_point_id, covered_from_at, covered_until_at
  FROM json_populate_recordset(NULL::analytics.evse_progress, CAST(:rows AS json)) AS fresh
 ORDER BY evse_id
    ON CONFLICT (tenant, evse_id) DO UPDATE SET
       charge_point_id = excluded.charge_point_id,
       covered_from_at = excluded.covered_from_at,
       covered_until_at = excluded.covered_until_at
 WHERE (known.charge_point_id, known.covered_from_at, known.covered_until_at)
       IS DISTINCT FROM (excluded.charge_point_id, excluded.covered_from_at, excluded.covered_until_at)
""")


def _note_progress(work: Work, evses: Mapping[int, Evse]) -> None:
    """Note the charge point and the covered period from which the stretches of EVSEs were derived."""
    rows = []
    for evse in evses.values():
        covered = evse.covered[0] if evse.covered else None
        rows.append(
            {
                "evse_id": evse.evse_id,
                "charge_point_id": evse.charge_point_id,
                "covered_from_at": None if covered is None else covered.began_at,
                "covered_until_at": None if covered is None else covered.ended_at,
            }
        )
    work.connection.execute(_NOTE_PROGRESS, {"tenant": work.tenant, "rows": to_json(rows)})


def _observations(source: str, table: str, key: str, status: str) -> str:
    """Return the query of observations from a time on, and of the last one before.

    Index: the table's unique constraint, once for each EVSE. By OFFSET, the observations of a tenant are never read as
    a whole, even while the planner knows of few.
    """
    return f"""
SELECT scope.evse_id, '{source}' AS source, observation.*
  FROM json_to_recordset(CAST(:scope AS json)) AS scope (evse_id bigint, charge_point_id bigint, since timestamptz)
 CROSS JOIN LATERAL (
       SELECT coalesce(max(earlier.observed_at), '-infinity') AS since
         FROM charging.{table} AS earlier
        WHERE earlier.tenant = :tenant
          AND earlier.{key} = scope.{key}
          AND earlier.observed_at <= scope.since
       OFFSET 0) AS first
 CROSS JOIN LATERAL (
       SELECT known.{status} AS status, known.observed_at, known.source AS origin, known.notification_id,
              known.recorded_at
         FROM charging.{table} AS known
        WHERE known.tenant = :tenant
          AND known.{key} = scope.{key}
          AND known.observed_at >= first.since
       OFFSET 0) AS observation
"""  # noqa: S608 - the names are ours


_ALL_OBSERVATIONS = text(
    "UNION ALL".join(
        (
            _observations("evse", "evse_status_observation", "evse_id", "hardware_status"),
            _observations("charge_point", "charge_point_hardware_observation", "charge_point_id", "hardware_status"),
            _observations("network", "charge_point_network_observation", "charge_point_id", "network_status"),
        )
    )
)


def _add_observations(connection: Connection, tenant: str, evses: Mapping[int, Evse]) -> None:
    """Load the observations of EVSEs from the beginning of their first stretch on, and those that hold then."""
    scope = [
        {"evse_id": evse.evse_id, "charge_point_id": evse.charge_point_id, "since": evse.starts_at}
        for evse in evses.values()
    ]
    for row in connection.execute(_ALL_OBSERVATIONS, {"tenant": tenant, "scope": to_json(scope)}):
        arrived_at = row.recorded_at if row.notification_id is None else made_at(row.notification_id)
        at = arrived_at if is_ahead(row.observed_at, arrived_at) else row.observed_at
        evses[row.evse_id].observations.append(
            Observation(at, row.source, row.origin, row.status, row.observed_at, row.notification_id)
        )
