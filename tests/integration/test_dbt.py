"""The dbt package builds on the tables of the contract, and its tests find what is wrong in them. ``make dbt`` runs it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, text
from sqlalchemy.dialects.postgresql import JSONB

from analytics import contract
from analytics.dbt import sources
from analytics.schema import metadata
from analytics.schema.evse_state import STATES
from migrations import roles
from storage.database_url import conninfo
from storage.schema_names import ANALYTICS
from tests.support.databases import database_user

ROOT = Path(__file__).parents[2]
DBT = ROOT / ".local" / "dbt" / "bin" / "dbt"
PROJECT = sources.FILE.parents[1]

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not DBT.exists(), reason="dbt is not installed: `make dbt` installs it"),
]

NOW = datetime.now(UTC)
DAY = date(2026, 3, 4)


@dataclass(frozen=True, slots=True)
class Dbt:
    """dbt as an analyst runs it.

    Attributes:
        url: the database, for the user of the analyst.
        directory: where dbt writes what it makes beside the reports.
        proxy: the address at which dbt would reach the internet.
    """

    url: str
    directory: Path
    proxy: str

    def run(self, *arguments: str, schema: str = ANALYTICS) -> subprocess.CompletedProcess[str]:
        """Run a command of dbt; the tables of the contract are in a schema."""
        server = conninfo_to_dict(conninfo(self.url))
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "PGHOST": str(server["host"]),
            "PGPORT": str(server.get("port") or 5432),
            "PGUSER": str(server["user"]),
            "PGPASSWORD": str(server.get("password") or ""),
            "PGDATABASE": str(server["dbname"]),
            **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), self.proxy),
        }
        options = ["--target-path", f"{self.directory}/target", "--log-path", f"{self.directory}/logs"]
        variables = ["--vars", json.dumps({"analytics_schema": schema})]
        command = [str(DBT), "--no-use-colors", *arguments, *options, *variables]
        return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)

    def succeeds(self, *arguments: str) -> None:
        """Run a command of dbt, and fail if it does."""
        ended = self.run(*arguments)
        assert ended.returncode == 0, ended.stdout

    def failures(self, *arguments: str, schema: str) -> set[str]:
        """Run a command of dbt that fails; return the names of what failed."""
        ended = self.run(*arguments, schema=schema)
        assert ended.returncode == 1, ended.stdout
        written = "sources.json" if "freshness" in arguments else "run_results.json"
        results = json.loads((self.directory / "target" / written).read_text())["results"]
        bad = [result for result in results if result["status"] not in ("pass", "success")]
        # test.<project>.<name>.<digest>, or source.<project>.<source>.<table>
        return {result["unique_id"].split(".")[3 if written == "sources.json" else 2] for result in bad}


@pytest.fixture
def proxy() -> Iterator[socket.socket]:
    """A server to which dbt would send what it sends to the internet."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture
def dbt(engine: Engine, tmp_path: Path, proxy: socket.socket) -> Iterator[Dbt]:
    """dbt of an analyst who may read the contract, and write a schema for the reports."""
    with database_user(engine, "of_the_reports", options=f"IN ROLE {roles.READ}") as url:
        user = conninfo_to_dict(conninfo(url))["user"]
        with engine.begin() as connection:
            connection.execute(text(f'CREATE SCHEMA reports AUTHORIZATION "{user}"'))
        yield Dbt(url, tmp_path, f"http://127.0.0.1:{proxy.getsockname()[1]}")


#: What a column holds that is not given, by the type of Python.
ANYTHING: dict[type, Any] = {
    bool: False,
    int: 1,
    Decimal: Decimal(0),
    str: "anything",
    datetime: NOW,
    date: DAY,
    UUID: uuid4(),
}


def insert(connection: Connection, table_name: str, /, **values: Any) -> None:
    """Insert a row into a table of the contract; columns that are not given hold anything."""
    table = metadata.tables[f"{ANALYTICS}.{table_name}"]
    row: dict[str, Any] = {"tenant": "t"} if "tenant" in table.columns else {}
    for column in table.columns:
        if column.name in values or column.nullable or column.computed is not None or column.name in row:
            continue
        row[column.name] = {} if isinstance(column.type, JSONB) else ANYTHING[column.type.python_type]
    connection.execute(table.insert(), [row | values])


class Numbers:
    """The numbers of changes."""

    def __init__(self, connection: Connection, last: int = 0) -> None:
        self._connection = connection
        self.last = last

    def insert(self, table_name: str, /, **values: Any) -> None:
        """Insert a row with the next number."""
        self.last += 1
        insert(self._connection, table_name, **values, change_number=self.last, changed_at=NOW)


def fill(connection: Connection) -> Numbers:
    """Put at least a row into each table of the contract."""
    numbers = Numbers(connection)
    began_at = datetime(2026, 3, 3, 23, tzinfo=UTC)
    ended_at = began_at + timedelta(days=1)
    numbers.insert("location", location_id=1, name="Harbour", timezone="Europe/Vienna")
    numbers.insert("charge_point", charge_point_id=418, location_id=1)
    numbers.insert("evse", evse_id=902, charge_point_id=418, location_id=1)
    numbers.insert("tariff", tariff_id=5)
    numbers.insert("master_version", kind="evse", entity_id=902, valid_from=began_at, valid_to=ended_at)
    common = {"evse_id": 902, "coverage": "observed"}
    numbers.insert("evse_state_interval", **common, began_at=began_at, ended_at=ended_at, state="faulted")
    numbers.insert(
        "evse_state_interval",
        **common,
        began_at=ended_at,
        previous_ended_at=ended_at,
        ended_at=ended_at + timedelta(days=1),
        state="available",
    )
    for session_id, currency, amount in ((1, "EUR", "4.20"), (2, "EUR", "0.80"), (3, "CHF", "2")):
        numbers.insert(
            "session",
            session_id=session_id,
            location_id=1,
            local_day=DAY,
            outcome="charged",
            energy_wh=Decimal(2500),
            amount_with_tax=Decimal(amount),
            currency=currency,
            is_final=True,
            is_roaming=False,
            provisional=False,
            conflicting=False,
        )
        numbers.insert("energy_interval", session_id=session_id, began_at=began_at, method="register")
    attempts = (("accepted", 1), ("accepted", 2), ("accepted", None), ("rejected", None))
    for source_id, (result, of_attempt) in enumerate(attempts, 1):
        numbers.insert(
            "charge_attempt",
            source="authorization",
            source_id=source_id,
            attempted_at=datetime(2026, 2, 28, 23, 30, tzinfo=UTC),  # March in Vienna
            location_id=1,
            result=result,
            session_id=of_attempt,
            is_success=of_attempt is not None,
        )
    outage = {"evse_id": 902, "began_at": began_at, "ended_at": ended_at}
    numbers.insert("outage", **outage, cause="faulted", session_after_id=1)
    numbers.insert("exclusion", **outage, outage_began_at=began_at, source="operator")
    numbers.insert("downtime_period", subject="evse", started_at=began_at)
    seconds = {f"{state}_s": 0 for state in STATES}
    numbers.insert(
        "evse_day",
        **seconds | {"faulted_s": 1_800, "unknown_s": 3_600, "charging_s": 8_280, "available_s": 72_720},
        evse_id=902,
        location_id=1,
        day=DAY,
        day_s=86_400,
        excluded_s=0,
    )
    numbers.insert("evse_uptime_month", evse_id=902, month=date(2026, 3, 1))
    numbers.insert("finding", rule="anything", severity="low")
    numbers.insert("removal", table_name="session", key={"session_id": 4})
    insert(connection, "feed", last_change_number=numbers.last, derived_until=NOW)
    return numbers


def rows(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


FUNNEL = "SELECT month, attempts, accepted, charged, undecided, charged_percent FROM reports.session_funnel ORDER BY 1"


def test_an_analyst_builds_the_reports_and_nothing_is_sent(engine: Engine, dbt: Dbt, proxy: socket.socket) -> None:
    with engine.begin() as connection:
        fill(connection)
        for table in contract.tables():
            assert connection.execute(text(f"SELECT count(*) FROM {table.fullname}")).scalar_one(), table.name
    dbt.succeeds("build")
    dbt.succeeds("source", "freshness")
    (report,) = rows(
        engine,
        "SELECT day, location_name, sessions, energy_kwh, revenue_with_tax, evses, outage_minutes, utilisation_percent"
        " FROM reports.daily_site_report",
    )
    revenue = {"EUR": 5, "CHF": 2}
    assert report == (DAY, "Harbour", 3, Decimal("7.5"), revenue, 1, Decimal(30), Decimal(10))
    assert rows(engine, FUNNEL) == [(date(2026, 3, 1), 4, 3, 2, 0, Decimal(50))]
    with pytest.raises(BlockingIOError):
        proxy.accept()


def test_a_report_that_follows_the_feed_equals_one_that_reads_everything(engine: Engine, dbt: Dbt) -> None:
    with engine.begin() as connection:
        last = fill(connection).last
    dbt.succeeds("run", "--select", "+session_funnel")

    # A row changed, one went, and one went and returned
    with engine.begin() as connection:
        numbers = Numbers(connection, last + 1)
        connection.execute(
            text(
                "UPDATE analytics.charge_attempt SET is_success = NULL, change_number = :number"
                " WHERE tenant = 't' AND source_id = 2"
            ),
            {"number": numbers.last},
        )
        connection.execute(text("DELETE FROM analytics.charge_attempt WHERE tenant = 't' AND source_id > 2"))
        for source_id in (3, 4):
            numbers.insert(
                "removal", table_name="charge_attempt", key={"source": "authorization", "source_id": source_id}
            )
        returned = {"source": "authorization", "source_id": 4, "location_id": 1, "is_success": False}
        numbers.insert("charge_attempt", **returned, attempted_at=NOW.replace(year=2025, month=7, day=5))
    dbt.succeeds("run", "--select", "+session_funnel")
    followed = rows(engine, FUNNEL)
    assert followed == [
        (date(2025, 7, 1), 1, 0, 0, 0, Decimal(0)),
        (date(2026, 3, 1), 2, 2, 1, 1, Decimal(100)),
    ]
    dbt.succeeds("run", "--select", "+session_funnel", "--full-refresh")
    assert rows(engine, FUNNEL) == followed

    # AMPECO no longer shows an attempt, and shows it again
    for number, removed_at, funnel in ((1, NOW, followed[1:]), (2, None, followed)):
        with engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE analytics.charge_attempt SET removed_at = :removed_at, change_number = :number"
                    " WHERE tenant = 't' AND source_id = 4"
                ),
                {"removed_at": removed_at, "number": numbers.last + number},
            )
        dbt.succeeds("run", "--select", "+session_funnel")
        assert rows(engine, FUNNEL) == funnel

    # The database was restored to an earlier state, so that numbers are given twice
    with engine.begin() as connection:
        connection.execute(text("UPDATE analytics.feed SET epoch = gen_random_uuid()"))
        connection.execute(text("DELETE FROM analytics.charge_attempt WHERE tenant = 't' AND source_id = 2"))
        connection.execute(text("UPDATE analytics.charge_attempt SET is_success = false WHERE source_id = 1"))
    dbt.succeeds("run", "--select", "+session_funnel")
    assert rows(engine, FUNNEL) == [
        (date(2025, 7, 1), 1, 0, 0, 0, Decimal(0)),
        (date(2026, 3, 1), 1, 1, 0, 0, Decimal(0)),
    ]


def test_what_is_broken_in_a_copy_of_the_tables_fails(engine: Engine, dbt: Dbt) -> None:
    with engine.begin() as connection:
        fill(connection)
        connection.execute(text("CREATE SCHEMA copied"))
        for table in contract.tables():
            connection.execute(text(f"CREATE TABLE copied.{table.name} AS TABLE {table.fullname}"))
        connection.execute(text("INSERT INTO copied.tariff SELECT * FROM copied.tariff"))
        connection.execute(text("UPDATE copied.evse_state_interval SET state = 'asleep' WHERE state = 'faulted'"))
        connection.execute(text("UPDATE copied.outage SET cause = NULL"))
        connection.execute(text("UPDATE copied.energy_interval SET session_id = 7 WHERE session_id = 1"))
        connection.execute(text("UPDATE copied.session SET changed_at = now() - interval '4 days'"))
        connection.execute(text("INSERT INTO copied.feed SELECT * FROM copied.feed"))
        connection.execute(
            text(
                "UPDATE copied.feed SET tenant = 'late', derived_until = now() - interval '2 hours'"
                " WHERE ctid = (SELECT max(ctid) FROM copied.feed)"
            )
        )
        connection.execute(text(f"GRANT USAGE ON SCHEMA copied TO {roles.READ}"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA copied TO {roles.READ}"))
    failed = dbt.failures("test", "--select", "source:*", schema="copied")
    kinds = [
        "source_accepted_values_analytics_evse_state_interval_state",
        "source_foreign_key_analytics_energy_interval_",
        "source_not_null_analytics_outage_cause",
        "source_unique_key_analytics_tariff_tenant__change_number",
        "source_unique_key_analytics_tariff_tenant__tariff_id",
    ]
    assert len(failed) == len(kinds), failed
    assert all(name.startswith(kind) for name, kind in zip(sorted(failed), kinds, strict=True)), failed
    stale = dbt.failures("source", "freshness", schema="copied")
    assert stale == {"feed", "session"}
