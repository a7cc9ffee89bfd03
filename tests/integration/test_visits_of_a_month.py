"""The view of visits reads what a question is about, and not the attempts of the years around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, text

from storage.database import create_database_engine
from tests.support.databases import Databases

LOCATIONS, DRIVERS, ATTEMPTS = 20, 900, 36_000

#: The most rows that are read for an attempt of the month: itself, the one before it, the following ones with the ones
#: before them up to the next visit, and those of its visit.
MAX_ROWS = 8

#: A year of attempts that are spread evenly, of which some are a second try ten minutes after the end of the first.
_ATTEMPTS = text("""
INSERT INTO analytics.charge_attempt
       (tenant, source, source_id, attempted_at, location_id, driver_key, ended_at, energy_wh, is_success,
        change_number, changed_at)
SELECT :tenant, 'authorization', number, attempted_at, number / 2 % :locations, 'driver ' || number / 2 * 7 % :drivers,
       attempted_at + interval '30 minutes', 10000, true, number, attempted_at
  FROM (SELECT number,
               timestamptz '2025-01-01 00:00Z' + number / 2 * 2 * interval '365 days' / :attempts
                   + number % 2 * interval '40 minutes' AS attempted_at
          FROM generate_series(1, :attempts) AS number) AS made
""")


@pytest.fixture(scope="module")
def engine(databases: Databases) -> Iterator[Engine]:
    with databases.database() as url:
        engine = create_database_engine(url, application_name="tests", pool_size=1)
        with engine.begin() as connection:
            for tenant in ("t", "other"):
                counts = {"locations": LOCATIONS, "drivers": DRIVERS, "attempts": ATTEMPTS}
                connection.execute(_ATTEMPTS, {"tenant": tenant, **counts})
            connection.execute(text("ANALYZE analytics.charge_attempt"))
        yield engine
        engine.dispose()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


@pytest.mark.parametrize("place", ["true", "location_id = 7"])
def test_visits_of_a_month_cost_what_the_month_has(engine: Engine, place: str) -> None:
    def of_month(table: str, at: str) -> str:
        return (
            f"FROM analytics.{table} WHERE tenant = 't' AND {place}"
            f" AND {at} >= timestamptz '2025-11-01 00:00Z' AND {at} < timestamptz '2025-12-01 00:00Z'"
        )

    visits = f"SELECT count(*), sum(attempts), sum(energy_wh) {of_month('visit', 'began_at')}"
    with engine.connect() as connection:
        count, in_visits, _ = connection.execute(text(visits)).one()
        (attempts,) = connection.execute(text(f"SELECT count(*) {of_month('charge_attempt', 'attempted_at')}")).one()
        ((shown,),) = connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {visits}")).all()
    # A bitmap of an index only names rows; the scan of the table reads them.
    scans = [
        node
        for node in nodes(shown[0]["Plan"])
        if "Scan" in node["Node Type"] and node["Node Type"] != "Bitmap Index Scan"
    ]
    read = sum((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in scans)
    assert 0 < count < in_visits <= attempts + 1
    assert [node for node in scans if node["Node Type"] == "Seq Scan"] == []
    assert attempts <= read <= MAX_ROWS * attempts
