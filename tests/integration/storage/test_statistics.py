"""Plans know the size of a table that has grown since autovacuum last looked, or within one transaction."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, text

_FILLS = {
    "analytics.removal": """
INSERT INTO analytics.removal (tenant, change_number, table_name, key, changed_at)
SELECT 'demo', number, 'session', jsonb_build_object('session_id', number), now()
  FROM generate_series(1, :rows) AS number
""",
    "charging.evse_status_observation": """
INSERT INTO charging.evse_status_observation (tenant, evse_id, observed_at, hardware_status, source)
SELECT 'demo', number, now(), 'available', 'notification'
  FROM generate_series(1, :rows) AS number
""",
}

_ESTIMATE = text("SELECT reltuples FROM pg_class WHERE oid = CAST(:table AS regclass)")


def estimate(connection: Connection, table: str) -> float:
    return float(connection.execute(_ESTIMATE, {"table": table}).scalar_one())


def refresh(connection: Connection) -> None:
    # The tables that have grown most come first, and a few at a time.
    for _ in range(20):
        connection.execute(text("SELECT analytics.refresh_statistics()"))


@pytest.mark.parametrize("table", _FILLS)
def test_a_table_that_has_grown_is_analysed_and_another_one_is_not(connection: Connection, table: str) -> None:
    refresh(connection)
    before = estimate(connection, table)
    connection.execute(text(_FILLS[table]), {"rows": 2_000})
    refresh(connection)
    assert estimate(connection, table) == 2_000 != before
    connection.execute(text(_FILLS[table].replace("number, ", "number + 2000, ", 1)), {"rows": 100})
    refresh(connection)
    assert estimate(connection, table) == 2_000
