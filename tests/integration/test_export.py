"""Exports to Parquet: every value as in Postgres, whole files only, and increments that add up to the tables."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from psycopg import sql
from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Engine, Integer, Numeric, SmallInteger, Table
from sqlalchemy.dialects.postgresql import JSONB

from analytics import contract
from analytics.export import run as exporting
from analytics.export.destination import destination
from analytics.export.errors import ExportError
from analytics.export.run import Progress, alone, export
from storage.database_url import conninfo
from storage.state.changes import ChangeSet
from storage.state.fold import fact_from_read
from storage.state.marks import mark_all
from storage.write import write_changes
from tests.support.analytics import derive
from tests.support.commands import ROOT, ForkedProcess, fork, run
from tests.support.databases import database_user
from tests.support.log import execute, query
from tests.support.service import write_tenants

START = datetime(2026, 3, 4, 7, tzinfo=UTC)

TABLES = {table.name: table for table in contract.tables() if "change_number" in table.columns}

EPOCH = "5f0c9ad6-0b8e-4a51-9d4c-5d0f0e6f8d11"

#: Enough where the tables do not matter.
FEW = ("master_version", "removal", "session")

#: How many rows of hostile values each table gets.
ROWS = 8

TEXTS = ["plain", "", 'it\'s "ünï" 𝄞\n\t\\', "x" * 10_000, None, "NULL", "\x01", "-infinity"]
TIMES = [
    "2026-03-04 07:00:00.123456+00",
    "infinity",
    "-infinity",
    "294276-12-31 23:59:59.999999+00",
    "294246-12-31 23:59:59.999999+00",
    "4713-01-01 00:00:00+00 BC",
    None,
    "1969-12-31 23:59:59.999999+00",
]
DATES = ["2026-03-29", "infinity", "-infinity", "5874897-12-31", "4713-01-01 BC", None, "1970-01-01", "0001-01-01"]
DOCUMENTS = ['{"a": [1, null, "é"]}', "null", "[]", '"x"', None, "1e400", "{}", "true"]

#: Times after this one do not fit into Arrow.
LATEST = "294247-01-01 00:00:00+00"

#: Constraints that rows of any values would break, and an index of differences of times; keys stay.
DROP_RULES = """
DO $$
DECLARE rule record;
BEGIN
    FOR rule IN
        SELECT CAST(CAST(conrelid AS regclass) AS text) AS name, conname
          FROM pg_constraint
         WHERE connamespace = CAST('analytics' AS regnamespace)
           AND contype IN ('c', 'f', 'u')
         ORDER BY contype = 'u'
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', rule.name, rule.conname);
    END LOOP;
    DROP INDEX IF EXISTS analytics.session_long_idx;
END
$$
"""

#: What is added up by computed columns, where the most extreme values would not fit.
SUMMANDS = {"faulted_s", "unavailable_s", "offline_s", "outage_s", "excluded_s"}

#: What computed columns make local times of, where other values would be an error.
LOCAL: dict[str, list[str | None]] = {
    "timezone": ["Europe/Sofia", "Asia/Kathmandu", None, "Pacific/Chatham"],
    "began_at": ["2026-03-04 07:00:00.123456+00", "0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00"],
}


def extremes(column: Column[Any]) -> list[str | None]:
    """Values of a column's type, among them the most extreme ones, as Postgres reads them."""
    kind = column.type
    found: list[str | None]
    if column.table.name == "energy_interval" and column.name in LOCAL:
        found = [*LOCAL[column.name]]
    elif column.name in SUMMANDS:
        found = ["0", str(2**29), "1", str(-(2**29))]
    elif isinstance(kind, Integer):
        bits = 15 if isinstance(kind, SmallInteger) else 63 if isinstance(kind, BigInteger) else 31
        found = [str(2**bits - 1), "0", str(-(2**bits)), "1", None, "42", "-1", "7"]
    elif isinstance(kind, Numeric):
        assert kind.precision is not None
        assert kind.scale is not None
        nines = "9" * (kind.precision - kind.scale) + "." + "9" * kind.scale
        found = [nines, f"-{nines}", "0", f"0.{'1'.zfill(kind.scale)}", None, "NaN", "-1.5", "10"]
    elif isinstance(kind, Boolean):
        found = ["true", "false", None]
    elif isinstance(kind, Date):
        found = [*DATES]
    elif isinstance(kind, DateTime):
        found = [*TIMES]
    elif isinstance(kind, JSONB):
        found = [*DOCUMENTS]
    else:
        found = [*TEXTS]
    values = found if column.nullable else [value for value in found if value is not None]
    return list(islice(cycle(values), ROWS))


def hostile_rows(table: Table, tenant: str, first_number: int) -> str:
    """The INSERT of rows whose columns have every value."""
    columns = {column.name: extremes(column) for column in table.columns if column.computed is None}
    columns["tenant"] = [tenant] * ROWS
    columns["change_number"] = [str(first_number + row) for row in range(ROWS)]
    columns["changed_at"] = [f"2026-{3 + row // 4:02}-28 23:59:59.999999+00" for row in range(ROWS)]
    key = next(column for column in table.primary_key if column.name != "tenant")
    if key.name != "change_number":
        numbers = isinstance(key.type, BigInteger)
        columns[key.name] = [str(2**63 - 1 - row) if numbers else f"it's {row} ü" for row in range(ROWS)]
    rows = ", ".join(f"({', '.join(map(quoted, row))})" for row in zip(*columns.values(), strict=True))
    return f"INSERT INTO {table.fullname} ({', '.join(columns)}) VALUES {rows}"


def quoted(value: str | None) -> str:
    return "NULL" if value is None else sql.quote(value)


def fill(engine: Engine, url: str, tables: Iterable[str] = TABLES, tenant: str = "demo") -> int:
    """Fill tables of the contract, by default all; return the last change number."""
    with psycopg.connect(conninfo(url)) as connection:
        connection.execute(DROP_RULES)
        number = 1
        for table in tables:
            connection.execute(hostile_rows(TABLES[table], tenant, number).encode())
            number += ROWS
    set_feed(engine, tenant, number - 1)
    return number - 1


def set_feed(engine: Engine, tenant: str, last: int, epoch: str = EPOCH) -> None:
    execute(
        engine,
        "INSERT INTO analytics.feed (tenant, epoch, origin, last_change_number, derived_until)"
        " VALUES (:tenant, CAST(:epoch AS uuid), 'o', :last, now())"
        " ON CONFLICT (tenant) DO UPDATE SET epoch = excluded.epoch, last_change_number = excluded.last_change_number",
        tenant=tenant,
        epoch=epoch,
        last=last,
    )


def export_to(url: str, folder: Path | str, tenant: str = "demo", since: int | None = None) -> Progress:
    """Export in this process; return what was reported last."""
    *_, done = export(url, destination(str(folder), tenant, os.environ), tenant, since)
    return done


def parquet(folder: Path) -> list[Path]:
    return sorted(folder.glob("table=*/**/*.parquet"))


def manifests(folder: Path, tenant: str = "demo") -> list[dict[str, Any]]:
    found = sorted(folder.glob(f"_manifests/tenant={tenant}/changes-*.json"))
    return [json.loads(path.read_text()) for path in found]


def in_postgres(column: Column[Any]) -> str:
    """SQL of what a value should be in a file, in a form that both databases can show."""
    name, kind = column.name, column.type
    if isinstance(kind, DateTime):
        finite = f"isfinite({name}) AND {name} < '{LATEST}'"
        return f"CASE WHEN {finite} THEN CAST(extract(epoch FROM {name}) * 1000000 AS bigint) END"
    if isinstance(kind, Date):
        return f"CASE WHEN isfinite({name}) THEN {name} - DATE '1970-01-01' END"
    if isinstance(kind, Numeric):
        return f"CAST(nullif({name}, 'NaN') AS text)"
    return f"CAST({name} AS text)" if isinstance(kind, JSONB) else name


def in_duckdb(column: Column[Any]) -> str:
    name, kind = column.name, column.type
    if isinstance(kind, DateTime):
        return f"epoch_us({name})"
    if isinstance(kind, Date):
        return f"{name} - DATE '1970-01-01'"
    return f"CAST({name} AS VARCHAR)" if isinstance(kind, Numeric) else name


def duckdb_type(column: Column[Any]) -> str:
    kind = column.type
    if isinstance(kind, Numeric):
        return f"DECIMAL({kind.precision},{kind.scale})"
    types: list[tuple[Any, str]] = [
        (SmallInteger, "SMALLINT"),
        (BigInteger, "BIGINT"),
        (Integer, "INTEGER"),
        (Boolean, "BOOLEAN"),
        (Date, "DATE"),
        (DateTime, "TIMESTAMP WITH TIME ZONE"),
    ]
    return next((name for sort, name in types if isinstance(kind, sort)), "VARCHAR")


def rows_of(statement: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(statement).fetchall()


def scan(folder: Path, table: str) -> str:
    """How DuckDB reads a table."""
    files = f"{folder}/table={table}/**/*.parquet"
    return f"read_parquet('{files}', hive_partitioning = true, hive_types_autocast = false)"


def keys(table: Table) -> list[str]:
    return [column.name for column in table.primary_key if column.name != "tenant"]


def stored(engine: Engine, table: Table, tenant: str = "demo") -> list[tuple[Any, ...]]:
    """The rows in Postgres, by change number."""
    listed = ", ".join(f"{in_postgres(column)} AS {column.name}" for column in table.columns)
    statement = f"SELECT {listed} FROM {table.fullname} WHERE tenant = :tenant ORDER BY table_of.change_number"
    statement = statement.replace(f"FROM {table.fullname}", f"FROM {table.fullname} AS table_of")
    return [tuple(row.values()) for row in query(engine, statement, tenant=tenant)]


def replayed(folder: Path, table: Table, tenant: str = "demo") -> list[tuple[Any, ...]]:
    """The rows that all increments together make: the newest change of each key, unless it was removed later."""
    listed = ", ".join(in_duckdb(column) for column in table.columns)
    rows = scan(folder, table.name)
    if table.name == "removal":
        return rows_of(f"SELECT DISTINCT {listed} FROM {rows} WHERE tenant = '{tenant}' ORDER BY change_number")
    removals = "(SELECT NULL AS tenant, NULL AS table_name, NULL AS key, NULL AS change_number LIMIT 0)"
    if any((folder / "table=removal").glob("**/*.parquet")):
        removals = scan(folder, "removal")
    return rows_of(f"""
        SELECT {listed}
          FROM (SELECT *
                  FROM {rows}
                 WHERE tenant = '{tenant}'
               QUALIFY row_number() OVER (PARTITION BY row_key ORDER BY change_number DESC) = 1) AS newest
         WHERE NOT EXISTS (SELECT 1
                             FROM {removals} AS removal
                            WHERE removal.tenant = newest.tenant
                              AND removal.table_name = '{table.name}'
                              AND removal.key = newest.row_key
                              AND removal.change_number > newest.change_number)
         ORDER BY change_number
    """)


def test_every_value_of_every_table_is_read_back_as_it_is_in_postgres(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    last = fill(engine, database_url)
    done = export_to(database_url, tmp_path)
    assert (done.rows, done.reached) == (last, last)
    for table in TABLES.values():
        described = rows_of(f"DESCRIBE SELECT * FROM {scan(tmp_path, table.name)}")
        types = {name: kind for name, kind, *_ in described}
        assert {column.name: types[column.name] for column in table.columns} == {
            column.name: duckdb_type(column) for column in table.columns
        }
        listed = ", ".join(in_duckdb(column) for column in table.columns)
        read = rows_of(f"SELECT {listed} FROM {scan(tmp_path, table.name)} ORDER BY change_number")
        assert len(read) == ROWS
        assert read == stored(engine, table), table.name


def test_files_are_partitioned_and_named_by_their_changes_and_a_manifest_lists_them(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    last = fill(engine, database_url)
    export_to(database_url, tmp_path)
    (manifest,) = manifests(tmp_path)
    shown = {name: manifest[name] for name in ("contract", "epoch", "tenant", "from", "to")}
    assert shown == {"contract": "1.0", "epoch": EPOCH, "tenant": "demo", "from": 1, "to": last}
    expected = {
        f"table={table}/tenant=demo/changed_month={month}/changes-{1:012}-{last:012}.parquet"
        for table in TABLES
        for month in ("2026-03", "2026-04")
    }
    assert {str(path.relative_to(tmp_path)) for path in parquet(tmp_path)} == expected
    files = {file["path"]: file for file in manifest["files"]}
    assert files.keys() == expected
    for path, file in files.items():
        content = (tmp_path / path).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert file["rows"] == pq.read_metadata(tmp_path / path).num_rows
    assert not [*(tmp_path / "_temporary").glob("**/*.*")]


def observe(engine: Engine, minutes: float, status: str) -> None:
    changes = ChangeSet()
    common = {"observed_at": START + timedelta(minutes=minutes), "source": "notification"}
    changes.observe("evse_status_observation", {"evse_id": 902, "hardware_status": status, **common})
    changes.observe(
        "charge_point_network_observation", {"charge_point_id": 418, "network_status": "available", **common}
    )
    with engine.begin() as connection:
        write_changes(connection, "demo", changes)


def master(engine: Engine, minutes: float, label: str) -> None:
    at = START + timedelta(minutes=minutes)
    columns = {"physical_reference": None, "label": label, "charge_point_id": 418, "raw": {"id": 902}}
    changes = ChangeSet(facts=[fact_from_read("evse", 902, "master", at, columns, began_at=at)])
    with engine.begin() as connection:
        write_changes(connection, "demo", changes)


def alive(engine: Engine) -> None:
    execute(engine, "INSERT INTO ingest.uptime VALUES (:began, now())", began=START - timedelta(hours=1))


def steps(engine: Engine) -> Iterator[None]:
    """Change what is derived: rows are added, change, go, and return."""
    alive(engine)
    master(engine, 0, "one")
    observe(engine, 0, "available")
    observe(engine, 10, "charging")
    yield
    master(engine, 5, "another")
    observe(engine, 20, "finishing")
    yield
    execute(engine, "DELETE FROM charging.evse_status_observation WHERE hardware_status = 'charging'")
    with engine.begin() as connection:
        mark_all(connection, "demo")
    yield
    observe(engine, 10, "charging")
    master(engine, 6, "one")
    yield


@pytest.mark.parametrize("max_range", [1_000_000, 2])
def test_increments_after_changes_and_removals_add_up_to_the_tables(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_range: int
) -> None:
    monkeypatch.setattr(exporting, "MAX_RANGE", max_range)
    seen: Counter[str] = Counter()
    for _ in steps(engine):
        derive(engine, "demo")
        export_to(database_url, tmp_path)
        for table in TABLES.values():
            rows = stored(engine, table)
            if (tmp_path / f"table={table.name}").exists() or rows:
                seen[table.name] += len(rows)
                assert replayed(tmp_path, table) == rows, table.name
    assert min(seen[name] for name in ("evse", "evse_state_interval", "master_version", "removal")) > 0
    ranges = [(manifest["from"], manifest["to"]) for manifest in manifests(tmp_path)]
    (last,) = query(engine, "SELECT last_change_number FROM analytics.feed")
    assert [first for first, _ in ranges] == [1, *(end + 1 for _, end in ranges[:-1])]
    assert ranges[-1][1] == last["last_change_number"]
    # What has not changed is not exported again
    before = parquet(tmp_path)
    export_to(database_url, tmp_path)
    export_to(database_url, tmp_path, since=0)
    assert parquet(tmp_path) == before


#: Runs an export that is killed, or asked to stop, at a place between its renames of files.
INTERRUPTED = """
import os, signal, sys
from analytics.export import run
from receiver.commands.main import main

run.MAX_RANGE = {max_range}
replace, renamed = os.replace, 0

def interrupted(source, target):
    global renamed
    renamed += ".parquet" in target
    if renamed == {after} and ".parquet" in target and not {is_renamed}:
        os.kill(os.getpid(), signal.{signal})
    replace(source, target)
    if renamed == {after} and ".parquet" in target and {is_renamed}:
        os.kill(os.getpid(), signal.{signal})

os.replace = interrupted
sys.argv[1:] = ["export", "--format", "parquet", "--tenant", "demo", "--to", {to!r}]
main()
"""


@pytest.fixture
def servers(database_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a command."""
    (tmp_path / "home").mkdir()
    tenants = write_tenants(tmp_path / "home")
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "TENANTS_FILE": str(tenants)}


def interrupt(servers: dict[str, str], to: Path, **how: Any) -> tuple[int, str]:
    """Run an export that a signal interrupts; return its exit code and its output."""
    code = INTERRUPTED.format(to=str(to), **{"max_range": 40, "signal": "SIGKILL", "is_renamed": True} | how)
    log = to.with_name("log")
    with log.open("wb") as output:
        process: ForkedProcess = fork(ROOT, ["-c", code], os.environ | servers, output.fileno(), output.fileno())
        return process.wait(60), log.read_text()


def identities(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in parquet(folder)}


def test_after_each_kill_the_export_continues_and_no_finished_file_is_written_again(
    engine: Engine, database_url: str, servers: dict[str, str], tmp_path: Path
) -> None:
    fill(engine, database_url)
    to = tmp_path / "out"
    finished: dict[Path, tuple[int, int]] = {}
    for after, is_renamed in ((1, False), (3, True), (9, True)):
        code, shown = interrupt(servers, to, after=after, is_renamed=is_renamed)
        assert code == -9, shown
        there = identities(to)
        assert len(there) == len(finished) + after - (not is_renamed)
        assert there.items() >= finished.items()
        finished = there
        for path in there:
            assert pq.ParquetFile(path).read().num_rows > 0
    # Rows change and go while the export stands still
    (last,) = query(engine, "SELECT last_change_number + 1 AS next FROM analytics.feed")
    execute(
        engine,
        "UPDATE analytics.evse SET change_number = :number WHERE change_number = :old",
        number=last["next"],
        old=one(engine, "evse"),
    )
    gone = one(engine, "session")
    execute(
        engine,
        "WITH gone AS (DELETE FROM analytics.session WHERE change_number = :old RETURNING session_id)"
        " INSERT INTO analytics.removal SELECT 'demo', :number, 'session', jsonb_build_object('session_id', session_id), now() FROM gone",
        number=last["next"] + 1,
        old=gone,
    )
    set_feed(engine, "demo", last["next"] + 1)
    ended = run(tmp_path, "export", "--tenant", "demo", "--to", str(to), **servers)
    assert ended.returncode == 0, ended.stderr
    assert identities(to).items() >= finished.items()
    assert not [path for path in (to / "_temporary").rglob("*") if path.is_file()]
    assert {str(path.relative_to(to)) for path in parquet(to)} == {
        file["path"] for manifest in manifests(to) for file in manifest["files"]
    }
    for table in TABLES.values():
        assert replayed(to, table) == stored(engine, table), table.name


def one(engine: Engine, table: str) -> int:
    (row,) = query(engine, f"SELECT min(change_number) AS number FROM analytics.{table}")
    return int(row["number"])


def test_a_signal_stops_the_export_between_two_files(
    engine: Engine, database_url: str, servers: dict[str, str], tmp_path: Path
) -> None:
    last = fill(engine, database_url)
    to = tmp_path / "out"
    code, shown = interrupt(servers, to, after=2, is_renamed=False, signal="SIGTERM")
    assert code == 143
    assert "demo: stopped. Run the same command again to continue." in shown
    finished = identities(to)
    assert len(finished) == 2
    assert not [path for path in (to / "_temporary").rglob("*") if path.is_file()]
    ended = run(tmp_path, "export", "--tenant", "demo", "--to", str(to), **servers)
    assert f"demo: {last - 8:,} rows" in ended.stdout
    assert identities(to).items() >= finished.items()


def test_row_groups_are_bounded(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine, database_url)
    monkeypatch.setattr(exporting, "MAX_GROUP_ROWS", 3)
    export_to(database_url, tmp_path / "by rows")
    monkeypatch.setattr(exporting, "MAX_GROUP_BYTES", 0)
    export_to(database_url, tmp_path / "by bytes")
    for folder in ("by rows", "by bytes"):
        for path in parquet(tmp_path / folder):
            file = pq.ParquetFile(path)
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
            assert (sum(sizes), max(sizes)) == (4, 3)


def test_numbers_that_were_given_again_stop_the_export(
    engine: Engine, database_url: str, servers: dict[str, str], tmp_path: Path
) -> None:
    last = fill(engine, database_url)
    to = tmp_path / "out"
    export_to(database_url, to)
    before = identities(to)
    for epoch, newest in (("11111111-0b8e-4a51-9d4c-5d0f0e6f8d11", last + 3), (EPOCH, last - 3)):
        set_feed(engine, "demo", newest, epoch)
        for options in ([], ["--since-change", "0"]):
            ended = run(tmp_path, "export", "--tenant", "demo", "--to", str(to), *options, **servers)
            assert ended.returncode == 2
            (line,) = ended.stderr.strip().splitlines()
            assert line.startswith("ampeco-receiver: demo: its change numbers were given again")
            assert "--since-change 0" in line
    assert identities(to) == before
    # Nor is an interrupted export continued with other numbers
    set_feed(engine, "demo", last)
    other = tmp_path / "other"
    assert interrupt(servers, other, after=1)[0] == -9
    set_feed(engine, "demo", last, "11111111-0b8e-4a51-9d4c-5d0f0e6f8d11")
    with pytest.raises(ExportError, match="given again"):
        export_to(database_url, other)


def test_an_export_never_leaves_a_gap(engine: Engine, database_url: str, tmp_path: Path) -> None:
    last = fill(engine, database_url)
    with pytest.raises(ExportError, match=f"the newest change has the number {last}"):
        export_to(database_url, tmp_path, since=last + 1)
    done = export_to(database_url, tmp_path, since=last - 5)
    assert done.rows == 5
    set_feed(engine, "demo", last + 10)
    with pytest.raises(ExportError, match=f"the changes from {last + 1} to {last + 2} would be missing"):
        export_to(database_url, tmp_path, since=last + 2)
    done = export_to(database_url, tmp_path, since=0)
    assert done.reached == last + 10
    for table in TABLES.values():
        assert replayed(tmp_path, table) == stored(engine, table)


def test_an_export_ends_although_the_feed_grows(engine: Engine, database_url: str, tmp_path: Path) -> None:
    last = fill(engine, database_url, FEW)
    for done in export(database_url, destination(str(tmp_path), "demo", os.environ), "demo"):
        set_feed(engine, "demo", last + done.files)
    assert [(manifest["from"], manifest["to"]) for manifest in manifests(tmp_path)] == [(1, last)]


def test_tenants_are_exported_side_by_side(
    engine: Engine, database_url: str, servers: dict[str, str], tmp_path: Path
) -> None:
    last = fill(engine, database_url)
    with psycopg.connect(conninfo(database_url)) as connection:
        connection.execute(hostile_rows(TABLES["tariff"], "other", 1).encode())
    set_feed(engine, "other", ROWS)
    ended = run(tmp_path, "export", "--to", "out", **servers)
    assert ended.returncode == 0, ended.stderr
    assert f"demo: {last:,} rows" in ended.stdout
    assert f"other: {ROWS} rows" in ended.stdout
    assert "nothing changed since" in run(tmp_path, "export", "--to", "out", **servers).stdout
    for tenant in ("demo", "other"):
        table = TABLES["tariff"]
        assert replayed(tmp_path / "out", table, tenant) == stored(engine, table, tenant)
    execute(engine, "DELETE FROM analytics.feed")
    assert "nothing was derived yet" in run(tmp_path, "export", "--to", "new", **servers).stdout


def test_two_exports_of_a_tenant_to_one_place_exclude_each_other(
    engine: Engine, servers: dict[str, str], tmp_path: Path
) -> None:
    place = destination(str(tmp_path / "out"), "demo", os.environ)
    with alone(engine, "demo", place):
        ended = run(tmp_path, "export", "--tenant", "demo", "--to", str(tmp_path / "out"), **servers)
        assert ended.returncode == 2
        assert "is running; let it end first." in ended.stderr
        assert run(tmp_path, "export", "--tenant", "demo", "--to", "elsewhere", **servers).returncode == 0


@pytest.mark.parametrize("module", ["pyarrow", "adbc_driver_postgresql"])
def test_without_the_extra_one_sentence_says_what_to_install(
    servers: dict[str, str], tmp_path: Path, module: str
) -> None:
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('no', name={module!r})")
    ended = run(tmp_path, "export", "--to", "out", **servers, PYTHONPATH=str(tmp_path))
    assert ended.returncode == 2
    assert ended.stderr.strip() == (
        f"ampeco-receiver: the package {module}, which exports need, is not installed: install ampeco-receiver[export]."
    )


AWS_SECRET = "aws-passphrase-77d0"
DATABASE_SECRET = "database-passphrase-b7e2"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[pyarrow.fs.S3FileSystem]:
    """A server that speaks S3, with an empty bucket."""
    from moto.server import ThreadedMotoServer  # it takes half a second to import, in each process of a run

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    bucket = pyarrow.fs.S3FileSystem(endpoint_override=f"http://{host}:{port}", allow_bucket_creation=True)
    bucket.create_dir("bucket")
    yield bucket
    server.stop()


def test_an_export_to_s3_has_the_same_files_and_shows_no_secret(
    engine: Engine, database_url: str, servers: dict[str, str], s3: pyarrow.fs.S3FileSystem, tmp_path: Path
) -> None:
    last = fill(engine, database_url, FEW)
    with database_user(engine, "exporter", options=f"SUPERUSER PASSWORD '{DATABASE_SECRET}'") as url:
        with_password = url.replace("@", f":{DATABASE_SECRET}@", 1)
        environment = servers | {"DATABASE_URL": with_password, "RECEIVER_LOG_LEVEL": "debug"}
        for options in (["--since-change", str(last - 20)], ["--since-change", "0"], []):
            ended = run(tmp_path, "export", "--tenant", "demo", "--to", "s3://bucket/a/b/", *options, **environment)
            assert ended.returncode == 0, ended.stderr
            assert "passphrase" not in ended.stdout + ended.stderr
    pyarrow.fs.copy_files(
        "bucket/a/b", str(tmp_path / "copy"), source_filesystem=s3, destination_filesystem=pyarrow.fs.LocalFileSystem()
    )
    copy = tmp_path / "copy"
    listed = [file for manifest in manifests(copy) for file in manifest["files"]]
    assert {file["path"]: file["bytes"] for file in listed} == {
        str(path.relative_to(copy)): path.stat().st_size for path in parquet(copy)
    }
    for table in FEW:
        assert replayed(copy, TABLES[table]) == stored(engine, TABLES[table]), table
    for path in copy.rglob("*"):
        assert path.is_dir() or b"passphrase" not in path.read_bytes()
        assert "_temporary" not in str(path) or path.is_dir() or not path.stat().st_size


def test_an_error_leaves_no_object_under_a_final_name(
    engine: Engine, database_url: str, s3: pyarrow.fs.S3FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine, database_url, FEW)

    def broken(_batches: object) -> Iterator[Any]:
        yield from ()
        raise RuntimeError

    monkeypatch.setattr(exporting, "row_groups", broken)
    with pytest.raises(RuntimeError):
        export_to(database_url, "s3://bucket/x")
    selector = pyarrow.fs.FileSelector("bucket/x", recursive=True)
    files = [info.path for info in s3.get_file_info(selector) if info.type == pyarrow.fs.FileType.File]
    assert files == ["bucket/x/_manifests/tenant=demo/unfinished.json"]


def test_an_interrupted_export_to_s3_is_continued(
    engine: Engine, database_url: str, s3: pyarrow.fs.S3FileSystem
) -> None:
    last = fill(engine, database_url, FEW)
    place = destination("s3://bucket/x", "demo", os.environ)
    with contextlib.closing(export(database_url, place, "demo")) as reports:
        assert [next(reports).files for _ in range(3)] == [1, 2, 3]
        written = next(reports).rows
    done = export_to(database_url, "s3://bucket/x")
    assert done.rows == last - written


REFUSED: dict[str, Callable[[Path], str]] = {
    "needs a folder or s3://": lambda _: f"s3://key:{AWS_SECRET}@bucket/x",
    "NO_SUCH_BUCKET": lambda _: "s3://nowhere-at-all/x",
    "File exists: ": lambda folder: str(folder / "file" / "x"),
    "needs a folder or": lambda _: "gs://bucket/x",
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_destination_that_cannot_be_used_is_named_in_one_sentence(
    engine: Engine,
    database_url: str,
    servers: dict[str, str],
    s3: pyarrow.fs.S3FileSystem,
    tmp_path: Path,
    message: str,
) -> None:
    fill(engine, database_url, FEW)
    (tmp_path / "file").touch()
    to = REFUSED[message](tmp_path)
    ended = run(tmp_path, "export", "--tenant", "demo", "--to", to, **servers)
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("ampeco-receiver: --to: ")
    assert message in line
    assert AWS_SECRET not in line


def test_an_error_of_postgres_is_one_sentence(engine: Engine, database_url: str, tmp_path: Path) -> None:
    fill(engine, database_url, FEW)
    with (
        database_user(engine, "stranger") as url,
        pytest.raises(ExportError, match=r"^Postgres: permission denied for schema analytics \(DATABASE_URL\)$"),
    ):
        export_to(url, tmp_path)
    nowhere = "postgresql://user:passphrase@127.0.0.1:1/x"
    with pytest.raises(ExportError, match=r"^Postgres: .*Connection refused \(DATABASE_URL\)$") as caught:
        export_to(nowhere, tmp_path)
    assert "passphrase" not in str(caught.value)
