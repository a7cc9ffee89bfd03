"""Measure how deriving and reading the tables for analysts grow with the history.

A synthetic year of charging is loaded into a new database at several scales: 2,000 EVSEs, 3 million sessions and 300
million meter values are the whole. Then everything is derived, some changes are derived again and again as in daily
work, and the queries of daily work are timed. Only ratios between the scales count: they are measured in one run.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import Engine

from analytics.derive import derive_round, marks_left
from bench.signed import TENANT
from bench.surroundings import database_alone
from runtime.logging import configure_logging
from storage.database import create_database_engine
from storage.database_url import conninfo
from storage.state.changes import ChangeSet
from storage.state.fold import fact_from_read
from storage.state.marks import mark_all
from storage.state.version import Version
from storage.write import write_changes

#: The whole: the EVSEs, and what each has in a year.
EVSES = 2_000
SESSIONS_PER_EVSE = 1_500
SAMPLES_PER_SESSION = 100
EVSES_PER_LOCATION = 10

#: The year ends yesterday, so that the last days are as recent as in daily work.
DAYS = 365

#: Rounds of changes, and the EVSEs and the sessions that change in each.
ROUNDS = 20
CHANGED = 20

#: How often each query is timed.
REPEATS = 11

_LOAD = {
    "locations": """
INSERT INTO charging.location (tenant, location_id, name, status, timezone, latitude, longitude, master_at)
SELECT %(tenant)s, id, 'Location ' || id, 'enabled', 'Europe/Sofia', 42 + id / 1000.0, 24, %(begins_at)s
  FROM generate_series(1, %(locations)s) AS id
""",
    "charge points": """
INSERT INTO charging.charge_point (tenant, charge_point_id, name, status, access_type, location_id, master_at)
SELECT %(tenant)s, id, 'CP ' || id, 'enabled', 'public', 1 + id %% %(locations)s, %(begins_at)s
  FROM generate_series(1, %(evses)s) AS id
""",
    "EVSEs": """
INSERT INTO charging.evse (tenant, evse_id, charge_point_id, label, status, current_type, max_power_w, master_at)
SELECT %(tenant)s, id, id, id::text, 'enabled', 'dc', 50000, %(begins_at)s
  FROM generate_series(1, %(evses)s) AS id
""",
    "sessions": """
INSERT INTO charging.session (tenant, session_id, evse_id, charge_point_id, status, started_at, stopped_at, energy_wh,
                              amount_with_tax, amount_without_tax, currency, user_id, state_at, detail_at,
                              state_version, detail_version)
SELECT %(tenant)s, (number - 1) * %(evses)s + evse, evse, evse, 'finished', at, at + interval '50 min',
       20000 + number %% 1000, 12, 10, 'EUR', 1 + number %% 5000, at + interval '50 min', at + interval '50 min',
       %(version)s, %(version)s
  FROM generate_series(1, %(evses)s) AS evse,
       generate_series(1, %(sessions)s) AS number,
       LATERAL (SELECT %(begins_at)s + number * %(every)s AS at) AS starts
""",
    "statuses": """
INSERT INTO charging.evse_status_observation (tenant, evse_id, observed_at, hardware_status, error_code, source)
SELECT session.tenant, session.evse_id, started_at + delay, reported.status, 'NoError', 'notification'
  FROM charging.session,
       (VALUES (interval '-1 min', 'preparing'), ('0 min', 'charging'), ('50 min', 'finishing'),
               ('52 min', 'available')) AS reported (delay, status)
 WHERE session.tenant = %(tenant)s
""",
    "network": """
INSERT INTO charging.charge_point_network_observation (tenant, charge_point_id, observed_at, network_status, source)
SELECT %(tenant)s, id, %(begins_at)s + day * interval '1 day' + minutes * interval '1 min', status, 'notification'
  FROM generate_series(1, %(evses)s) AS id,
       generate_series(1, %(days)s, 7) AS day,
       (VALUES (0, 'temporarily_unavailable'), (30, 'available')) AS reported (minutes, status)
""",
    "meter values": """
INSERT INTO charging.meter_value (tenant, session_id, measured_at, measurand, ordinal, value, unit, evse_id)
SELECT session.tenant, session.session_id, started_at + sample * interval '1 min', measurand, 0,
       CASE measurand WHEN 'Energy Consumed' THEN energy_wh * sample / 50 ELSE 24000 END,
       CASE measurand WHEN 'Energy Consumed' THEN 'Wh' ELSE 'W' END, evse_id
  FROM charging.session,
       generate_series(1, %(samples)s / 2) AS sample,
       (VALUES ('Energy Consumed'), ('Power Active Import')) AS measured (measurand)
 WHERE session.tenant = %(tenant)s
 ORDER BY session_id, sample
""",
}

#: The queries of daily work: of a location, and of the whole fleet now.
QUERIES = {
    "EVSEs by state now": """
SELECT state, count(*)
  FROM analytics.evse_state_interval
 WHERE tenant = %(tenant)s AND ended_at = 'infinity'
 GROUP BY state
""",
    "states of a location's last month": """
SELECT state, sum(extract(epoch FROM least(ended_at, %(now)s) - greatest(began_at, %(since)s)))
  FROM analytics.evse_state_interval
  JOIN analytics.evse USING (tenant, evse_id)
 WHERE tenant = %(tenant)s AND location_id = 1 AND ended_at > %(since)s
 GROUP BY state
""",
    "sessions of a location's last month": """
SELECT local_day, count(*), sum(energy_kwh), sum(amount_with_tax)
  FROM analytics.session
 WHERE tenant = %(tenant)s AND location_id = 1 AND started_at > %(since)s
 GROUP BY local_day
""",
    "days of a location's last month": """
SELECT day, sum(charging_s), sum(outage_s), sum(energy_kwh)
  FROM analytics.evse_day
 WHERE tenant = %(tenant)s AND location_id = 1 AND day > CAST(%(since)s AS date)
 GROUP BY day
""",
    "energy of a location's last month by hour": """
SELECT date_trunc('hour', began_at), sum(energy_kwh)
  FROM analytics.energy_interval
 WHERE tenant = %(tenant)s AND location_id = 1 AND began_at > %(since)s
 GROUP BY 1
""",
    "uptime of a location by EVSE": """
SELECT evse_id, month, nevi_uptime_percent, meets_97
  FROM analytics.evse_uptime_month
 WHERE tenant = %(tenant)s AND location_id = 1
 ORDER BY month DESC, evse_id
 LIMIT 100
""",
    "the next 500 changes": """
SELECT session_id, change_number
  FROM analytics.session
 WHERE tenant = %(tenant)s
   AND change_number > (SELECT last_change_number / 2 FROM analytics.feed WHERE tenant = %(tenant)s)
 ORDER BY change_number
 LIMIT 500
""",
}

#: The name of the partition of everything before the months.
_FIRST = "^meter_value_before_[0-9]{6}$"

_MAKE_MONTH = """
CREATE TABLE charging.meter_value_{name} PARTITION OF charging.meter_value FOR VALUES FROM ({began}) TO ({ended})
"""

_ROWS = """
SELECT relname, pg_total_relation_size(relation.oid), greatest(reltuples, 0)
  FROM pg_class AS relation
  JOIN pg_namespace ON pg_namespace.oid = relation.relnamespace
 WHERE nspname = %s AND relkind = 'r'
"""


@dataclass(slots=True)
class Grown:
    """What was measured at one scale.

    Attributes:
        share: of the whole.
        sizes: rows and bytes of each derived table.
        source_bytes: bytes of all tables of ``charging``.
        derive_all_seconds: to derive everything.
        changes_ms: the median of a round of changes.
        queries_ms: the median of each query.
    """

    share: float
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    source_bytes: int = 0
    derive_all_seconds: float = 0.0
    changes_ms: float = 0.0
    queries_ms: dict[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The rows of all derived tables."""
        return sum(rows for rows, _ in self.sizes.values())


def measure(shares: list[float]) -> list[Grown]:
    """Load, derive and query each share of the whole, each in a new database."""
    configure_logging("console", "warning", process="bench analytics")
    steps = len(shares) * (len(_LOAD) + 3)
    with progress_of(steps) as step:
        return [_measured(share, step) for share in shares]


def _measured(share: float, step: Callable[[str], None]) -> Grown:
    grown = Grown(share)
    with (
        tempfile.TemporaryDirectory(prefix="ampeco-bench-") as made,
        database_alone(Path(made)) as url,
        psycopg.connect(conninfo(url), autocommit=True) as connection,
    ):
        parameters = load_charging(
            connection, max(round(EVSES * share), CHANGED), lambda name: step(f"{share:.0%}: {name}")
        )
        engine = create_database_engine(url, application_name="bench analytics", pool_size=2)
        step(f"{share:.0%}: deriving everything")
        began = time.monotonic()
        with engine.begin() as marking:
            mark_all(marking, TENANT)
        derive_everything_marked(engine)
        grown.derive_all_seconds = time.monotonic() - began
        connection.execute("VACUUM ANALYZE")
        step(f"{share:.0%}: deriving changes")
        grown.changes_ms = _changes_ms(engine, parameters)
        step(f"{share:.0%}: querying")
        grown.queries_ms = {name: _query_ms(connection, query, parameters) for name, query in QUERIES.items()}
        tables = connection.execute(_ROWS, ("analytics",)).fetchall()
        grown.sizes = {name: (int(rows), size) for name, size, rows in tables if rows}
        grown.source_bytes = sum(size for _, size, _ in connection.execute(_ROWS, ("charging",)))
        engine.dispose()
    return grown


def load_charging(
    connection: psycopg.Connection[Any],
    evses: int,
    step: Callable[[str], None],
    *,
    sessions: int = SESSIONS_PER_EVSE,
    samples: int = SAMPLES_PER_SESSION,
    days: int = DAYS,
) -> dict[str, Any]:
    """Load some time of charging, by default a year, into an empty database.

    Parameters:
        connection: in autocommit.
        step: called with the name of each part before it is loaded.
        sessions, samples: sessions of each EVSE, and meter values of each session.
        days: how long the time is; it ends yesterday.

    Returns:
        The parameters of the statements, such as when the time begins.
    """
    now = datetime.now(UTC)
    begins_at = now - timedelta(days=days + 1)
    parameters = {
        "tenant": TENANT,
        "evses": evses,
        "locations": max(evses // EVSES_PER_LOCATION, 1),
        "sessions": sessions,
        "samples": samples,
        "days": days,
        "every": timedelta(days=days) / (sessions + 1),
        "begins_at": begins_at,
        "version": Version.of_read({}, began_at=now),
        "since": now - timedelta(days=31),
        "now": now,
    }
    make_months(connection, begins_at)
    connection.execute("INSERT INTO ingest.uptime VALUES (%(begins_at)s, now())", parameters)
    for name, statement in _LOAD.items():
        step(f"loading {name}")
        connection.execute(statement, parameters)
    connection.execute("VACUUM ANALYZE")
    return parameters


def make_months(connection: psycopg.Connection[Any], begins_at: datetime) -> None:
    """Give an empty database the monthly partitions of meter values that it would have after running since a time."""
    ((first,),) = connection.execute("SELECT relname FROM pg_class WHERE relname ~ %s", [_FIRST]).fetchall()
    connection.execute(f"DROP TABLE charging.{first}")
    month = begins_at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    connection.execute(_MAKE_MONTH.format(name=f"before_{month:%Y%m}", began="MINVALUE", ended=f"'{month}'"))
    while month < datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0):
        following = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
        connection.execute(_MAKE_MONTH.format(name=f"{month:%Y%m}", began=f"'{month}'", ended=f"'{following}'"))
        month = following


def derive_everything_marked(engine: Engine) -> None:
    """Derive what is marked, until nothing is."""
    while (done := derive_round(engine, TENANT)) is None or not done.is_done:
        pass


def _changes_ms(engine: Engine, parameters: dict[str, Any]) -> float:
    """Return the median of the milliseconds in which a round derives some changed EVSEs and sessions."""
    took = []
    for number in range(ROUNDS):
        with engine.begin() as connection:
            write_changes(connection, TENANT, daily_changes(number, parameters))
        began = time.perf_counter()
        derive_everything_marked(engine)
        took.append(time.perf_counter() - began)
    with engine.begin() as connection:
        assert not marks_left(connection, TENANT)
    return statistics.median(took) * 1000


def daily_changes(number: int, parameters: dict[str, Any], *, changed: int = CHANGED) -> ChangeSet:
    """Return what changes in a round of daily work: some EVSEs charge, each with a session and a meter value.

    Parameters:
        number: the number of the round.
        parameters: what :func:`load_charging` returned.
        changed: how many EVSEs.
    """
    at = parameters["now"] + timedelta(seconds=number)
    changes = ChangeSet()
    for evse_id in range(1, changed + 1):
        session_id = 10**9 + evse_id
        values = {"status": "active", "evse_id": evse_id, "charge_point_id": evse_id, "stopped_at": None}
        values |= {"started_at": parameters["now"], "stop_reason": None, "energy_wh": number * 100}
        changes.facts.append(fact_from_read("session", session_id, "state", at, values, began_at=at))
        status = ("charging", "suspendedEV")[number % 2]
        observed = {"evse_id": evse_id, "hardware_status": status, "observed_at": at, "source": "notification"}
        changes.observe("evse_status_observation", observed)
        sample = {"session_id": session_id, "measured_at": at, "measurand": "Energy Consumed", "ordinal": 0}
        changes.observe("meter_value", sample | {"value": number * 100, "unit": "Wh", "evse_id": evse_id})
    return changes


def _query_ms(connection: psycopg.Connection[Any], query: str, parameters: dict[str, Any]) -> float:
    took = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        connection.execute(query, parameters).fetchall()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


@contextmanager
def progress_of(total: int) -> Iterator[Callable[[str], None]]:
    """Show the progress of so many steps; yield the function that is called with the name of each."""
    console = Console(stderr=True)
    began = time.monotonic()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)

        def step(name: str) -> None:
            progress.update(task, advance=1, description=name)
            if not console.is_terminal:
                console.print(f"{time.monotonic() - began:5.0f} s  {name}", highlight=False)

        yield step


def render(measured: list[Grown], console: Console) -> Table:
    """Return the table to print: the figures of each scale, and their ratio to the first one."""
    first = measured[0]
    table = Table(
        box=box.ROUNDED if console.is_terminal else box.ASCII,
        title=f"A year of {EVSES:,} EVSEs, {EVSES * SESSIONS_PER_EVSE:,} sessions and"
        f" {EVSES * SESSIONS_PER_EVSE * SAMPLES_PER_SESSION:,} meter values, in part",
        title_justify="left",
    )
    table.add_column("", no_wrap=True)
    for grown in measured:
        table.add_column(f"{grown.share:.0%}", justify="right", no_wrap=True)

    def add(name: str, of: Callable[[Grown], float], form: str) -> None:
        cells = [
            f"{of(each):{form}}" + (f"  × {of(each) / of(first):.1f}" if each is not first else "") for each in measured
        ]
        table.add_row(name, *cells)

    add("derived rows", lambda each: each.rows, ",.0f")
    add("derived tables, MB", lambda each: sum(size for _, size in each.sizes.values()) / 1e6, ",.0f")
    add("tables of charging, MB", lambda each: each.source_bytes / 1e6, ",.0f")
    add("derive everything, rows a second", lambda each: each.rows / each.derive_all_seconds, ",.0f")
    add(f"derive {CHANGED} EVSEs and {CHANGED} sessions, ms", lambda each: each.changes_ms, ",.1f")
    table.add_section()
    for name in QUERIES:
        add(f"{name}, ms", lambda each, name=name: each.queries_ms[name], ",.2f")  # type: ignore[misc]
    return table
