"""Meter values of a month in Parquet: every sample as in Postgres, a whole file or none, and no dropped month."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
from sqlalchemy import Engine, text

from analytics.export import run as exporting
from analytics.export.destination import destination
from analytics.export.errors import ExportError
from analytics.export.meter_values import export_month
from migrations import roles
from storage.database import create_database_engine
from tests.support.analytics import START, write
from tests.support.commands import run
from tests.support.databases import database_user
from tests.support.service import write_tenants

MONTH = "2026-03"
BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
ENDED = datetime(2026, 4, 1, tzinfo=UTC)
FILE = f"table=meter_value/tenant=demo/month={MONTH}/meter-values.parquet"

VALUES = ["0", "-1.50", "1e300", "NaN", "0.000000000000000000000001", "12345678901234567890.123456789"]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_database_engine(database_url, application_name="tests", pool_size=2)
    yield made
    made.dispose()


def sample(measured_at: datetime, value: str, **values: Any) -> dict[str, Any]:
    common = {"session_id": 2**63 - 1, "measured_at": measured_at, "measurand": "Voltage", "ordinal": 0}
    return common | {"value": Decimal(value), "unit": "V", "notification_id": UUID(int=7)} | values


def fill(engine: Engine) -> None:
    """Write samples at both ends of the month, of odd values, and of other months and tenants."""
    last = ENDED - timedelta(microseconds=1)
    odd = [sample(START + timedelta(seconds=number), value) for number, value in enumerate(VALUES)]
    bare = dict.fromkeys(("unit", "location", "evse_id", "charge_point_id", "notification_id"))
    inside = [
        sample(BEGAN, "1"),
        sample(last, "2", measurand='it\'s "ünï" 𝄞\n', location="Outlet"),
        sample(last, "3", **bare),
    ]
    outside = [sample(BEGAN - timedelta(microseconds=1), "4"), sample(ENDED, "5")]
    write(engine, observations={"meter_value": odd + inside + outside}, tenant="demo")
    write(engine, observations={"meter_value": [sample(BEGAN, "6")]}, tenant="other")


def exported(folder: Path) -> list[tuple[Any, ...]]:
    query = f"SELECT * EXCLUDE (measured_at), epoch_us(measured_at) FROM read_parquet('{folder / FILE}', hive_partitioning = false)"
    with duckdb.connect() as connection:
        return sorted(connection.execute(query).fetchall(), key=str)


def stored(engine: Engine) -> list[tuple[Any, ...]]:
    query = text("""
        SELECT session_id, measurand, ordinal, value::text, unit, location, evse_id, charge_point_id,
               notification_id::text, (extract(epoch FROM measured_at) * 1000000)::bigint
          FROM charging.meter_value
         WHERE tenant = 'demo' AND measured_at >= :began AND measured_at < :ended
    """)
    with engine.connect() as connection:
        return sorted((tuple(row) for row in connection.execute(query, {"began": BEGAN, "ended": ENDED})), key=str)


def export_to(url: str, folder: Path, month: str = MONTH) -> int:
    *_, done = export_month(url, destination(str(folder), "demo", os.environ), "demo", month)
    assert done.is_done
    return done.rows


def test_every_sample_of_the_month_and_tenant_is_read_back_as_it_is_in_postgres(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine)
    monkeypatch.setattr(exporting, "MAX_GROUP_ROWS", 4)
    assert export_to(database_url, tmp_path) == len(VALUES) + 3
    assert exported(tmp_path) == stored(engine)
    # And a later export has what came since then
    write(engine, observations={"meter_value": [sample(START, "99")]}, tenant="demo")
    assert export_to(database_url, tmp_path) == len(VALUES) + 4
    assert exported(tmp_path) == stored(engine)


def test_an_export_that_is_stopped_leaves_the_former_file_whole(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    fill(engine)
    export_to(database_url, tmp_path)
    before = (tmp_path / FILE).read_bytes()
    write(engine, observations={"meter_value": [sample(START, "99")]}, tenant="demo")
    reports = export_month(database_url, destination(str(tmp_path), "demo", os.environ), "demo", MONTH)
    assert not next(reports).is_done
    reports.close()
    assert (tmp_path / FILE).read_bytes() == before
    assert list(tmp_path.rglob("*.parquet")) == [tmp_path / FILE]
    assert not list((tmp_path / "_temporary").rglob("*.*"))


def test_a_dropped_month_one_that_is_not_over_and_no_month_are_refused(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    fill(engine)
    export_to(database_url, tmp_path)
    before = (tmp_path / FILE).read_bytes()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO ingest.dropped_month (ended_at) VALUES (:ended)"), {"ended": ENDED})
    for month, reason in {
        MONTH: "were dropped",
        "2026-02": "were dropped",
        f"{datetime.now(UTC):%Y-%m}": "is not over",
        "2026-13": "is no month",
        "March": "is no month",
    }.items():
        with pytest.raises(ExportError, match=reason):
            export_to(database_url, tmp_path, month)
    assert (tmp_path / FILE).read_bytes() == before
    assert export_to(database_url, tmp_path, "2026-04") == 1


def test_the_command_exports_a_month_with_the_rights_of_the_service(
    engine: Engine, redis_url: str, tmp_path: Path
) -> None:
    fill(engine)
    with database_user(engine, "of_the_service", options=f"IN ROLE {roles.SERVICE}") as url:
        settings = {"DATABASE_URL": url, "REDIS_URL": redis_url, "TENANTS_FILE": str(write_tenants(tmp_path))}
        wanted = ("export", "--to", "out", "--tenant", "demo", "--meter-values")
        ended = run(tmp_path, *wanted, MONTH, **settings)
        assert ended.stdout.startswith(f"demo: {len(VALUES) + 3} meter values of {MONTH}, "), ended.stderr
        assert exported(tmp_path / "out") == stored(engine)
        refused = run(tmp_path, *wanted, "2026", **settings)
        assert (refused.returncode, refused.stderr.strip()) == (
            2,
            "ampeco-receiver: --meter-values: 2026 is no month such as 2026-01.",
        )
        both = run(tmp_path, *wanted, MONTH, "--since-change", "0", **settings)
        assert both.returncode == 2
        assert "exclude each other" in both.stderr
