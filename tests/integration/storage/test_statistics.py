"""Plans know the size of a table that one transaction has filled."""

from __future__ import annotations

from sqlalchemy import Connection, text

_FILL = text("""
INSERT INTO analytics.removal (tenant, change_number, table_name, key, changed_at)
SELECT 'demo', number, 'session', jsonb_build_object('session_id', number), now()
  FROM generate_series(1, 20000) AS number
""")

_ESTIMATE = text("SELECT reltuples FROM pg_class WHERE oid = CAST('analytics.removal' AS regclass)")


def test_a_table_that_has_grown_is_analysed_and_another_one_is_not(connection: Connection) -> None:
    before = connection.execute(_ESTIMATE).scalar_one()
    connection.execute(text("SELECT analytics.refresh_statistics()"))
    assert connection.execute(_ESTIMATE).scalar_one() == before
    connection.execute(_FILL)
    connection.execute(text("SELECT analytics.refresh_statistics()"))
    assert connection.execute(_ESTIMATE).scalar_one() == 20_000
