"""Measure how long the pages of the console take at the size of a large operator, and which indexes they use."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import psycopg
from rich import box
from rich.console import Console
from rich.table import Table

from bench.growth import derive_everything_marked, load_charging, progress_of
from bench.signed import TENANT
from bench.surroundings import database_alone
from receiver.console.app import create_console_app
from runtime.logging import configure_logging
from runtime.settings import Settings
from storage.database import create_database_engine
from storage.database_url import conninfo
from storage.state.marks import mark_all

#: The size: what the log holds, and what each EVSE did in some days, of which a month is over.
NOTIFICATIONS = 5_000_000
DAYS = 62
SESSIONS_PER_EVSE = 20
SAMPLES_PER_SESSION = 4

#: Days over which the log stretches, and notifications of one batch.
LOG_DAYS = 10
PER_BATCH = 20

#: How often each page is asked for; the first answers warm the caches and do not count.
REPEATS = 9
WARM_UP = 2

_BATCHES = """
INSERT INTO ingest.batch (tenant, batch_id, notifications, body_bytes, first_received_at, last_received_at,
                          committed_at, applied_at)
SELECT %(tenant)s, id, %(per_batch)s, %(per_batch)s * 200, at, at, at + interval '20 ms', at + interval '80 ms'
  FROM generate_series(0, %(batches)s - 1) AS number,
       LATERAL (SELECT %(log_begins_at)s + number * %(batch_every)s AS at) AS moment,
       LATERAL (SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM at) * 1000 AS bigint)), 12, '0') || '7000'
                            || lpad(to_hex(number), 16, '0') AS uuid) AS id) AS made
"""

_NOTIFICATIONS = """
INSERT INTO ingest.notification (tenant, received_at, notification_id, batch_id, notification_type, session_id, evse_id,
                                 charge_point_id, token_id, signature_encoding, headers, body)
SELECT %(tenant)s, first_received_at + each * interval '1 ms',
       CAST(left(CAST(batch_id AS text), 19) || lpad(to_hex(each), 4, '0')
            || right(CAST(batch_id AS text), 13) AS uuid),
       batch_id, 'SessionUpdateNotification', number %% %(session_count)s + 1, number %% %(evses)s + 1,
       number %% %(evses)s + 1, 'a1b2c3d4', 'hex', '{}',
       convert_to(format('{"notification": "SessionUpdateNotification", "sessionId": %%s}', each), 'UTF8')
  FROM ingest.batch,
       generate_series(1, %(per_batch)s) AS each,
       LATERAL (SELECT CAST(extract(epoch FROM first_received_at) * 1000 AS bigint) + each * 104729 AS number) AS spread
 WHERE batch.tenant = %(tenant)s
"""

_SCANS = "SELECT schemaname || '.' || indexrelname, idx_scan FROM pg_stat_user_indexes WHERE idx_scan > 0"


@dataclass(frozen=True, slots=True)
class MeasuredPage:
    """A page that was measured.

    Attributes:
        path: its address.
        milliseconds: the median time of an answer.
        kilobytes: its size.
        indexes: the indexes that it read.
    """

    path: str
    milliseconds: float
    kilobytes: float
    indexes: Sequence[str]


def pages(day: str, month: str) -> list[str]:
    """Return the addresses to measure.

    Parameters:
        day, month: days as in a filter, of the log and of the past month.
    """
    of = f"tenant={TENANT}"
    one = f"/tenants/{TENANT}"
    return [
        f"/?{of}&span=week",
        f"/fleet?{of}",
        f"/fleet?{of}&state=charging",
        f"{one}/locations/1",
        f"{one}/charge-points/1",
        f"{one}/evses/1",
        f"/sessions?{of}",
        f"{one}/sessions/1",
        f"{one}/why/evse/1",
        f"/uptime?{of}&month={month}",
        f"{one}/uptime/1?month={month}",
        f"/notifications?{of}",
        f"/notifications?{of}&evse=1&from={day}",
        f"/findings?{of}",
        f"/completeness?{of}",
        f"/tenants?{of}",
        "/actions",
    ]


def measure(notifications: int, evses: int) -> list[MeasuredPage]:
    """Load a fleet and a log into a new database, derive them, and measure each page."""
    configure_logging("console", "warning", process="bench console")
    with (
        progress_of(12) as step,
        tempfile.TemporaryDirectory(prefix="ampeco-bench-") as made,
        database_alone(Path(made)) as url,
        psycopg.connect(conninfo(url), autocommit=True) as connection,
    ):
        parameters = load_charging(
            connection, evses, step, sessions=SESSIONS_PER_EVSE, samples=SAMPLES_PER_SESSION, days=DAYS
        )
        _load_log(connection, notifications, parameters, step)
        engine = create_database_engine(url, application_name="bench console", pool_size=2)
        step("deriving")
        with engine.begin() as marking:
            mark_all(marking, TENANT)
        derive_everything_marked(engine)
        engine.dispose()
        connection.execute("VACUUM ANALYZE")
        step("asking for pages")
        tenants = Path(made) / "tenants.toml"
        tenants.write_text(f'[tenants.{TENANT}]\nbase_url = "http://127.0.0.1:1"\ntoken = "token"\n')
        settings = Settings(database_url=url, redis_url="redis://127.0.0.1:1", tenants_file=tenants)
        now = parameters["now"]
        paths = pages(f"{now - timedelta(days=1):%Y-%m-%d}", f"{now.replace(day=1) - timedelta(days=1):%Y-%m}")
        return anyio.run(_measure_pages, settings, connection, paths)


def _load_log(
    connection: psycopg.Connection[Any], notifications: int, parameters: Mapping[str, Any], step: Callable[[str], None]
) -> None:
    begins_at = parameters["now"] - timedelta(days=LOG_DAYS)
    batches = notifications // PER_BATCH
    of_log = {
        **parameters,
        "per_batch": PER_BATCH,
        "batches": batches,
        "log_begins_at": begins_at,
        "batch_every": timedelta(days=LOG_DAYS) / batches,
        "session_count": parameters["evses"] * SESSIONS_PER_EVSE,
    }
    for day in range(LOG_DAYS + 1):
        date = (begins_at + timedelta(days=day)).date()
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS ingest.notification_{date:%Y%m%d} PARTITION OF ingest.notification"
            f" FOR VALUES FROM ('{date} 00:00Z') TO ('{date + timedelta(days=1)} 00:00Z')"
        )
    step("loading batches")
    connection.execute(_BATCHES, of_log)
    step("loading notifications")
    connection.execute(_NOTIFICATIONS, of_log)
    connection.execute("VACUUM ANALYZE")


async def _measure_pages(
    settings: Settings, connection: psycopg.Connection[Any], paths: Sequence[str]
) -> list[MeasuredPage]:
    app = create_console_app(settings)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return [await _measure(client, connection, path) for path in paths]


async def _measure(client: httpx.AsyncClient, connection: psycopg.Connection[Any], path: str) -> MeasuredPage:
    before = dict(connection.execute(_SCANS).fetchall())
    took = []
    for _ in range(WARM_UP + REPEATS):
        began = time.perf_counter()
        answer = await client.get(path)
        took.append(time.perf_counter() - began)
        answer.raise_for_status()
    # A backend reports what it scanned with a transaction a second later.
    await anyio.sleep(1.1)
    await client.get(path)
    after = dict(connection.execute(_SCANS).fetchall())
    used = [name for name, scans in after.items() if scans > before.get(name, 0) and not name.startswith("pg_")]
    milliseconds = statistics.median(took[WARM_UP:]) * 1000
    return MeasuredPage(path, milliseconds, len(answer.content) / 1000, sorted(used))


def render(measured: Sequence[MeasuredPage], console: Console) -> Table:
    """Return the table to print."""
    table = Table(box=box.ROUNDED if console.is_terminal else box.ASCII, title="Pages of the console")
    table.add_column("page")
    table.add_column("ms", justify="right")
    table.add_column("kB", justify="right")
    table.add_column("indexes")
    for page in measured:
        table.add_row(page.path, f"{page.milliseconds:.0f}", f"{page.kilobytes:.0f}", ", ".join(page.indexes))
    return table
