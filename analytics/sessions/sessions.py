"""Derive charging sessions, each with the names, the power and the tariff that held when it started.

A session depends on itself and its parts, and on master data. The master data of a session is the versions at its
start. If master data changes, only those sessions are derived again that show something else than it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from analytics.retention import may_lack_samples
from analytics.schema.derived import limit_of
from analytics.schema.sessions import session
from analytics.scope import merged, parts, scope_json, scope_sql, whole
from analytics.sessions.drivers import DRIVERS_JOIN, driver_key_sql
from analytics.writing import Work
from storage.schema.entities import MIRRORS
from storage.state.version import is_provisional_sql

#: The most sessions that are derived together: one may have thousands of samples.
MAX_SESSIONS = 1_000

#: The largest power that a sample may show, W: more than any charge point has, so a greater number is an error.
MAX_POWER_W = 10_000_000


def derive(work: Work) -> None:
    """Derive the sessions that were marked, and those whose master data has changed."""
    scope = merged(whole(work.marks("session")), whole(_sessions_of_master_data(work)))
    for part in parts(sorted(scope), MAX_SESSIONS):
        work.write_query(session, whole(part), _SESSIONS)


def version_sql(kind: str, entity_id: str, at: str) -> str:
    """Return a SQL subquery of the version of an entity at a time; without a time the present one.

    Index: the primary key, backwards from the time.

    Parameters:
        kind: the kind of entity.
        entity_id: a SQL expression of its id.
        at: a SQL expression of the time.
    """
    return f"""(
       SELECT version.*
         FROM analytics.master_version AS version
        WHERE version.tenant = :tenant
          AND version.kind = '{kind}'
          AND version.entity_id = {entity_id}
          AND version.valid_from <= coalesce({at}, 'infinity')
        ORDER BY version.valid_from DESC
        LIMIT 1)"""  # noqa: S608 - the names are ours


#: The CDRs that a session names.
_CDR_IDS = """nullif(jsonb_path_query_array(session.raw, '$.roaming.cdrIds[*] ? (@.type() == "number")'), '[]')"""

#: The columns of a session that depend on master data, and what they are made of.
_MASTER_COLUMNS = {
    "location_id": "charge_point.location_id",
    "location_name": "location.name",
    "charge_point_id": "coalesce(session.charge_point_id, evse.charge_point_id)",
    "charge_point_name": "charge_point.name",
    "evse_label": "evse.name",
    "connector_type": "connector.type",
    "current_type": "evse.current_type",
    "max_power_w": "evse.max_power_w",
    "tariff_group_id": "evse.tariff_group_id",
    "tariff_id": "tariff.tariff_id",
    "tariff_name": "tariff.name",
    "timezone": "present_location.timezone",
    "local_day": "CAST(session.started_at AT TIME ZONE present_location.timezone AS date)",
    "is_roaming": f"({_CDR_IDS} IS NOT NULL OR present_evse.roaming_operator_id IS NOT NULL"
    " OR present_location.roaming_operator_id IS NOT NULL)",
}

# Indexes: primary keys.
_MASTER_JOINS = f"""
  LEFT JOIN LATERAL {version_sql("evse", "session.evse_id", "session.started_at")} AS evse ON true
  LEFT JOIN LATERAL {version_sql("charge_point", _MASTER_COLUMNS["charge_point_id"], "session.started_at")}
         AS charge_point ON true
  LEFT JOIN LATERAL {version_sql("location", "charge_point.location_id", "session.started_at")} AS location ON true
  LEFT JOIN analytics.evse AS present_evse
         ON present_evse.tenant = :tenant
        AND present_evse.evse_id = session.evse_id
  LEFT JOIN analytics.location AS present_location
         ON present_location.tenant = :tenant
        AND present_location.location_id = charge_point.location_id
  LEFT JOIN charging.connector AS connector
         ON connector.tenant = :tenant
        AND connector.connector_id = session.connector_id
  LEFT JOIN charging.tariff_snapshot AS tariff
         ON tariff.tenant = :tenant
        AND tariff.tariff_snapshot_id = session.tariff_snapshot_id
"""


def _sessions_of_master_data(work: Work) -> list[int]:
    """Return the sessions that show something else than the master data that has changed."""
    changed = {
        "evses": merged(work.changes("evse_version"), whole(work.changes("evse"))),
        "charge_points": work.changes("charge_point_version"),
        "locations": merged(work.changes("location_version"), whole(work.changes("location"))),
        "connectors": whole(work.marks("connector")),
        "tariffs": whole(work.marks("tariff_snapshot")),
    }
    if not any(changed.values()):
        return []
    parameters = {name: scope_json(scope) for name, scope in changed.items()}
    return list(work.connection.execute(_OUTDATED, {"tenant": work.tenant, **parameters}).scalars())


def _shown_with(parameter: str, column: str) -> str:
    """Return the query of the sessions that show an entity, and started since it changed."""
    return f"""
    SELECT shown.session_id
      FROM {scope_sql(parameter)}
     CROSS JOIN LATERAL (
           SELECT known.session_id, known.started_at
             FROM analytics.session AS known
            WHERE known.tenant = :tenant
              AND known.{column} = scope.entity_id
           OFFSET 0) AS shown
     WHERE scope.since IS NULL
        OR shown.started_at IS NULL
        OR shown.started_at >= scope.since"""  # noqa: S608 - the names are ours


def _named_with(parameter: str, column: str) -> str:
    """Return the query of the sessions that name an entity."""
    return f"""
    SELECT named.session_id
      FROM {scope_sql(parameter)}
     CROSS JOIN LATERAL (
           SELECT known.session_id
             FROM charging.session AS known
            WHERE known.tenant = :tenant
              AND known.{column} = scope.entity_id
           OFFSET 0) AS named"""  # noqa: S608 - the names are ours


_CANDIDATES = " UNION".join(
    (
        _shown_with("evses", "evse_id"),
        _shown_with("charge_points", "charge_point_id"),
        _shown_with("locations", "location_id"),
        _named_with("connectors", "connector_id"),
        _named_with("tariffs", "tariff_snapshot_id"),
    )
)

# Indexes: of analytics.session by EVSE, charge point and location, such as session_tenant_evse_id_started_at_idx; of
# charging.session by connector and tariff snapshot; primary keys. A session that is not derived yet has a mark of its
# own.
_OUTDATED = text(f"""
WITH candidate AS MATERIALIZED ({_CANDIDATES}
)
SELECT known.session_id
  FROM candidate
  JOIN analytics.session AS known
    ON known.tenant = :tenant
   AND known.session_id = candidate.session_id
  JOIN charging.session AS session
    ON session.tenant = :tenant
   AND session.session_id = candidate.session_id
{_MASTER_JOINS}
 WHERE ({", ".join(f"known.{name}" for name in _MASTER_COLUMNS)})
       IS DISTINCT FROM ({", ".join(_MASTER_COLUMNS.values())})
""")  # noqa: S608 - the names are ours


def _fit(column: str, value: str) -> str:
    """Return the SQL expression of a number, rounded as its column does; null if the column cannot hold it."""
    kind = session.table.columns[column].type
    return f"CASE WHEN abs({value}) < {limit_of(kind)} THEN CAST({value} AS {kind}) END"


def _any_group(condition: str) -> str:
    """Return the SQL condition that holds for any column group of a session."""
    return " OR ".join(condition.format(group=group.name) for group in MIRRORS["session"].groups)


def _seconds(state: str) -> str:
    return f"""CASE WHEN session.stopped_at IS NOT NULL AND periods.number > 0
                THEN coalesce(extract(epoch FROM periods.{state}), 0) END"""


_ENERGY = "numbers.energy_wh"

# The status decides first: a session that failed may have delivered energy before.
_OUTCOME = f"""CASE
           WHEN session.status IN ('pending', 'failed', 'expired') THEN session.status
           WHEN session.stopped_at IS NULL AND session.status IN ('active', 'unknown') THEN 'running'
           WHEN session.stopped_at IS NULL AND session.status IS DISTINCT FROM 'finished' THEN 'unknown'
           WHEN {_ENERGY} > 0 THEN 'charged'
           WHEN {_ENERGY} <= 0 THEN 'empty'
           ELSE 'unknown' END"""

_PLAIN = ("session_id", "evse_id", "connector_id", "started_at", "stopped_at", "status", "stop_reason")
_PLAIN_DETAIL = ("currency", "payment_type", "payment_status", "billing_status", "authorization_id")

#: The columns of a session, and what they are made of.
_COLUMNS: dict[str, Any] = {
    **{name: f"session.{name}" for name in (*_PLAIN, *_PLAIN_DETAIL)},
    **_MASTER_COLUMNS,
    "outcome": _OUTCOME,
    "connected_s": "numbers.connected_s",
    "charging_s": _seconds("charging"),
    "idle_s": _seconds("idle"),
    "energy_wh": _ENERGY,
    "energy_grid_wh": "session.energy_grid_wh",
    "energy_local_wh": "session.energy_local_wh",
    "energy_non_billable_wh": "session.non_billable_energy_wh",
    "meter_start_wh": "numbers.meter_start_wh",
    "meter_stop_wh": "numbers.meter_stop_wh",
    "meter_gap_wh": f"numbers.meter_stop_wh - numbers.meter_start_wh - {_ENERGY}",
    "power_average_w": f"coalesce({_fit('power_average_w', 'session.power_average_w')},"
    f" {_ENERGY} * 3600 / nullif(numbers.connected_s, 0))",
    "power_peak_w": f"coalesce({_fit('power_peak_w', 'session.power_peak_w')},"
    " greatest(samples.power_peak_w, former.power_peak_w))",
    "soc_begin_percent": "coalesce(former.soc_begin_percent, samples.socs[1])",
    "soc_end_percent": "coalesce(samples.socs[cardinality(samples.socs)], former.soc_end_percent, session.soc_percent)",
    "amount_with_tax": "numbers.amount_with_tax",
    "amount_without_tax": "numbers.amount_without_tax",
    "tax_amount": "numbers.amount_with_tax - numbers.amount_without_tax",
    "tax_percent": "session.tax_percent",
    "electricity_cost": "session.electricity_cost",
    "is_final": "coalesce(session.billing_status = 'completed', false)",
    "driver_key": driver_key_sql("session.user_id"),
    "cdr_ids": _CDR_IDS,
    "provisional": "session.detail_version IS NULL OR coalesce("
    f"{_any_group(is_provisional_sql('session.{group}_version'))}, false)",
    "conflicting": _any_group("session.{group}_conflicting"),
    "removed_at": "session.deleted_at",
}

# AMPECO has no unit for power, so most samples come without one; with another one they are no power.
_WATTS = "sample.value * CASE lower(coalesce(sample.unit, 'W')) WHEN 'w' THEN 1 WHEN 'kw' THEN 1000 END"

_FITTED = ("energy_wh", "meter_start_wh", "meter_stop_wh", "amount_with_tax", "amount_without_tax")

# Indexes: primary keys; charging_period_tenant_session_id_idx; meter_value_sample_key, once for a session and in each
# month, because samples may be dated outside of the session. If samples of a session may have been dropped, what was
# derived from them stays.
_SESSIONS = f"""
SELECT {", ".join(f"{value} AS {name}" for name, value in _COLUMNS.items())}
  FROM scope
  JOIN charging.session AS session
    ON session.tenant = :tenant
   AND session.session_id = scope.entity_id
  {DRIVERS_JOIN}
{_MASTER_JOINS}
 CROSS JOIN LATERAL (
       SELECT {", ".join(f"{_fit(name, f'session.{name}')} AS {name}" for name in _FITTED)},
              CASE WHEN session.stopped_at >= session.started_at
                   THEN extract(epoch FROM session.stopped_at - session.started_at) END AS connected_s) AS numbers
  LEFT JOIN analytics.session AS former
    ON former.tenant = :tenant
   AND former.session_id = scope.entity_id
   AND {may_lack_samples("session")}
 CROSS JOIN LATERAL (
       SELECT count(*) AS number,
              sum(period.stopped_at - period.started_at) FILTER (WHERE period.charging_state = 'charging') AS charging,
              sum(period.stopped_at - period.started_at) FILTER (WHERE period.charging_state = 'idle') AS idle
         FROM charging.charging_period AS period
        WHERE period.tenant = :tenant
          AND period.session_id = session.session_id
          AND period.deleted_at IS NULL
          AND period.charging_state IN ('charging', 'idle')
          AND period.started_at <= period.stopped_at) AS periods
 CROSS JOIN LATERAL (
       SELECT max({_WATTS}) FILTER (WHERE sample.measurand = 'Power Active Import') AS power_peak_w,
              array_agg(sample.value ORDER BY sample.measured_at, sample.ordinal, sample.value)
                  FILTER (WHERE sample.measurand = 'State Of Charge') AS socs
         FROM charging.meter_value AS sample
        WHERE sample.tenant = :tenant
          AND sample.session_id = session.session_id
          AND CASE sample.measurand
              WHEN 'Power Active Import' THEN {_WATTS} BETWEEN 0 AND {MAX_POWER_W}
              WHEN 'State Of Charge' THEN sample.value BETWEEN 0 AND 100
              END) AS samples
"""  # noqa: S608 - the names are ours
