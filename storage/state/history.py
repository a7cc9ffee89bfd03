"""Write the history: observations of statuses and samples, which are only ever added."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, TextClause, text

from storage.documents import to_json
from storage.schema.tables import metadata
from storage.schema_names import CHARGING
from storage.state.changes import Entity
from storage.state.clocks import TOLERANCE


def observe(
    connection: Connection, tenant: str, observations: dict[str, list[dict[str, Any]]], *, schema: str = CHARGING
) -> dict[Entity, datetime]:
    """Add observations to the history; one that is already stored adds nothing.

    Tables are written in the order of their names, so that concurrent writers never
    wait for each other in a circle.

    Parameters:
        observations: rows by the name of their history table.
        schema: the schema of the tables; a rebuild has its own.

    Returns:
        The entities that were observed, each with the time from which on the first counts of those that were not stored
        before: a status that is dated too far ahead counts from when it arrived.
    """
    observed: dict[Entity, datetime] = {}
    for table, rows in sorted(observations.items()):
        added = connection.execute(_insert(table, schema), {"tenant": tenant, "rows": to_json(rows)})
        if table in OBSERVED:
            for entity_id, at in added.all():
                entity = Entity(OBSERVED[table][0], entity_id)
                observed[entity] = min(at, observed.get(entity, at))
    return observed


#: The entity that an observation is about, if rows are derived for it: its kind, and the columns of its id and time.
OBSERVED = {
    "evse_status_observation": ("evse_status", "evse_id", "observed_at"),
    "charge_point_hardware_observation": ("charge_point_status", "charge_point_id", "observed_at"),
    "charge_point_network_observation": ("charge_point_status", "charge_point_id", "observed_at"),
    "meter_value": ("session", "session_id", "measured_at"),
    "consumption_point": ("session", "session_id", "measured_at"),
}


@cache
def observation_columns(table: str) -> tuple[str, ...]:
    """Return the columns of a history table, except the tenant and the time at which we recorded the row."""
    columns = metadata.tables[f"{CHARGING}.{table}"].columns
    return tuple(column.name for column in columns if column.name not in ("tenant", "recorded_at"))


@cache
def _insert(table: str, schema: str) -> TextClause:
    """Return the statement that adds observations and returns the observed entities, each with its first time.

    Index: the table's unique constraint; its columns come first in the table, and so in the order of writing.
    """
    listed = ", ".join(observation_columns(table))
    insert = f"""
INSERT INTO {schema}.{table} (tenant, {listed})
SELECT :tenant, {listed}
  FROM json_populate_recordset(NULL::charging.{table}, CAST(:rows AS json))
 ORDER BY {listed}
    ON CONFLICT DO NOTHING
"""  # noqa: S608 - the names are ours
    if table not in OBSERVED:
        return text(insert)
    _, key, at = OBSERVED[table]
    if table not in _STATUSES:
        return text(f"WITH added AS ({insert}RETURNING {key}, {at}) SELECT {key}, min({at}) FROM added GROUP BY {key}")  # noqa: S608 - the names are ours
    return text(f"""
WITH added AS ({insert}RETURNING {key}, {at}, notification_id, recorded_at
)
SELECT added.{key}, min(CASE WHEN added.{at} > arrival.at + interval '{_TOLERANCE}' THEN arrival.at ELSE added.{at} END)
  FROM added
 CROSS JOIN LATERAL (SELECT coalesce({_MADE_AT}, added.recorded_at) AS at) AS arrival
 GROUP BY added.{key}
""")  # noqa: S608 - the names are ours


#: The tables whose times are by the clocks of charge points.
_STATUSES = frozenset(table for table, (entity, _, _) in OBSERVED.items() if entity.endswith("_status"))

_TOLERANCE = f"{TOLERANCE // timedelta(hours=1)} hours"

# When a notification arrived: the milliseconds in its id.
_MADE_AT = (
    "timestamptz 'epoch' + interval '1 millisecond'"
    " * CAST(CAST('x' || left(translate(CAST(added.notification_id AS text), '-', ''), 12) AS bit(48)) AS bigint)"
)
