"""Plans know the size of a table that has grown since autovacuum last looked, or within one transaction."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, Engine, text

from analytics.derive import derive_round
from storage.state.changes import Entity
from storage.state.marks import mark, mark_all

_FILLS = {
    "analytics.removal": """
INSERT INTO analytics.removal (tenant, change_number, table_name, key, changed_at)
SELECT 'demo', number, 'session', jsonb_build_object('session_id', number), now()
  FROM generate_series(CAST(:first AS integer), :last) AS number
""",
    "charging.evse_status_observation": """
INSERT INTO charging.evse_status_observation (tenant, evse_id, observed_at, hardware_status, source)
SELECT 'demo', number, now(), 'available', 'notification'
  FROM generate_series(CAST(:first AS integer), :last) AS number
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
    connection.execute(text(_FILLS[table]), {"first": 1, "last": 2_000})
    refresh(connection)
    assert estimate(connection, table) == 2_000 != before
    connection.execute(text(_FILLS[table]), {"first": 2_001, "last": 2_100})
    refresh(connection)
    assert estimate(connection, table) == 2_000


_SESSIONS = text("""
INSERT INTO charging.session (tenant, session_id, evse_id, status, started_at, stopped_at, energy_wh)
SELECT 't', number, 902, 'finished', now() - interval '1 day', now(), 9000
  FROM generate_series(1, 1000) AS number
""")


def test_a_round_knows_the_size_of_what_it_has_filled_before_it_derives_days(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(_SESSIONS)
        mark_all(connection, "t")
    assert derive_round(engine, "t") is not None
    with engine.connect() as connection:
        assert estimate(connection, "analytics.session") == 1_000


def test_a_small_round_learns_once_a_minute_what_has_grown(engine: Engine) -> None:
    def grow_and_derive(first: int, last: int) -> float:
        with engine.begin() as connection:
            connection.execute(text(_FILLS["charging.evse_status_observation"]), {"first": first, "last": last})
            mark(connection, "t", {Entity("session", 1): None})
        assert derive_round(engine, "t") is not None
        with engine.connect() as connection:
            return estimate(connection, "charging.evse_status_observation")

    assert grow_and_derive(1, 2_000) == 2_000
    assert grow_and_derive(2_001, 9_000) == 2_000  # not again within the minute
    with engine.begin() as connection:
        connection.execute(text("UPDATE analytics.feed SET findings_at = findings_at - interval '1 minute'"))
    assert grow_and_derive(9_001, 9_100) == 9_100
