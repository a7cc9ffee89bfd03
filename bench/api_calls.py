"""``python -m bench.api_calls``: count the API calls that it takes to follow a tenant, by the size of its fleet.

For each size a simulator runs in real time beside a complete service of its own, all of them at the
same time. When all entities are stored, this counts the calls of several minutes, and measures how
long the reads that notifications request have to wait.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from ampeco.api.client import Client
from bench.processes import BenchError, free_port, leave_in_order, running, wait_until_answers
from receiver.processes.embedded import embedded_servers
from receiver.processes.service import bring_up_to_date
from runtime.settings import Settings, load_settings
from storage.database_url import conninfo
from workers.broker import QUEUES
from workers.monitoring import subscriptions

TENANT = "bench"
TOKEN = "bench-token-that-opens-nothing"

#: The longest wait until all entities are stored, in seconds.
KNOWN_SECONDS = 900

#: Vehicles that arrive at an EVSE on a busy day.
SESSIONS_A_DAY = 12

POLL_SECONDS = 1.0

#: The kinds that the simulator lists.
SHOWN = ("location", "charge_point", "evse", "session", "authorization", "transaction", "user", "partner", "id_tag")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass
class Stand:
    """A running tenant and its service, with the counts at the beginning of the measurement."""

    evses: int
    connection: psycopg.Connection[Any]
    began: dict[str, int]
    max_wait_seconds: float = 0.0

    def one(self, query: str) -> Any:
        """Return the only value that a query selects."""
        row = self.connection.execute(query).fetchone()
        return None if row is None else row[0]

    def is_known(self) -> bool:
        """Tell whether every listing was read once, and the reads that this requested are done."""
        listed = self.one("SELECT count(*) FROM ingest.sync_cursor")
        # Sync runs of kinds that the simulator does not list end with 404 and are postponed for an hour.
        syncing = self.one(
            "SELECT count(*) FROM ingest.sync_run WHERE finished_at IS NULL AND last_error NOT LIKE '%404%'"
        )
        waiting = self.one(
            "SELECT count(*) FROM ingest.refresh_request WHERE requested_at < now() - interval '30 seconds'"
        )
        return bool(listed >= len(SHOWN) and syncing == 0 and waiting == 0)

    def count(self) -> dict[str, int]:
        """Return the notifications, the calls by their reason, and the saved calls since the start."""
        rows = self.connection.execute("SELECT reason, sum(calls), sum(saved) FROM ingest.api_usage GROUP BY reason")
        counted = {"notifications": int(self.one("SELECT coalesce(sum(notifications), 0) FROM ingest.batch"))}
        for reason, calls, saved in rows:
            counted[reason] = int(calls)
            counted["saved"] = counted.get("saved", 0) + int(saved)
        return counted

    def look(self) -> None:
        """Measure the wait of the oldest requested read, except those of missing entities, which wait on purpose."""
        waited = self.one(
            "SELECT extract(epoch FROM now() - min(requested_at)) FROM ingest.refresh_request WHERE reason <> 'gone'"
        )
        self.max_wait_seconds = max(self.max_wait_seconds, float(waited or 0))


@contextlib.contextmanager
def stand(evses: int, folder: Path, calls_per_minute: int, reconcile_seconds: int) -> Any:
    """Run a tenant of one size and its service, and yield a ``Stand``."""
    folder.mkdir()
    log = folder / "bench.log"
    ports = {name: free_port() for name in ("tenant", "receiver")}
    tenants_file = folder / "tenants.toml"
    tenants_file.write_text(
        f'[tenants.{TENANT}]\nbase_url = "http://127.0.0.1:{ports["tenant"]}"\ntoken = "{TOKEN}"\n'
        f"calls_per_minute = {calls_per_minute}\n"
        "calls_per_day = 10000000\n"
    )
    settings: Settings = load_settings().model_copy(
        update={"data_dir": folder, "database_url": None, "redis_url": None}
    )
    with contextlib.ExitStack() as stack:
        ready = stack.enter_context(embedded_servers(settings))
        bring_up_to_date(ready)
        environment = {
            "DATABASE_URL": ready.required_database_url(),
            "REDIS_URL": ready.required_redis_url(),
            "TENANTS_FILE": str(tenants_file),
            "RECEIVER_HOST": "127.0.0.1",
            "RECEIVER_PORT": str(ports["receiver"]),
            "RECEIVER_ADMIN_PORT": "0",
            "RECEIVER_RECONCILE_INTERVAL": str(reconcile_seconds),
            "RECEIVER_LOG_FORMAT": "json",
            "AMPECO_SIMULATOR_TOKEN": TOKEN,
        }
        fleet = ["--evses", str(evses), "--charge-points", str(evses // 2), "--locations", str(max(evses // 10, 1))]
        pace = ["--speed", "1", "--sessions-a-day", str(SESSIONS_A_DAY)]
        tenant = ["simulator", "run", "--port", str(ports["tenant"]), *fleet, *pace]
        stack.enter_context(running(f"tenant of {evses}", tenant, environment, log))
        stack.enter_context(running("receiver", ["receiver", "serve"], environment, log))
        wait_until_answers("tenant", ports["tenant"], log, "/")
        wait_until_answers("receiver", ports["receiver"], log)
        for queue in QUEUES:
            stack.enter_context(running(f"work {queue}", ["receiver", "work", "--queue", queue], environment, log))
        configured = settings.model_copy(update={"tenants_file": tenants_file}).tenants[TENANT]
        with Client(configured.url, SecretStr(TOKEN)) as client:
            url = subscriptions.callback_url(f"http://127.0.0.1:{ports['receiver']}", TENANT)
            subscriptions.subscribe(client, configured, url)
        connection = stack.enter_context(psycopg.connect(conninfo(ready.required_database_url()), autocommit=True))
        yield Stand(evses, connection, {})


@app.command()
def main(
    evses: Annotated[
        list[int] | None, typer.Option(help="Sizes of the fleet; the default is 100, 500 and 2000.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.5, help="Duration of the count.")] = 5,
    calls_per_minute: Annotated[int, typer.Option(min=6, help="Rate limit of each tenant.")] = 60,
    reconcile_seconds: Annotated[int, typer.Option(min=10, help="Interval of reconciling.")] = 300,
) -> None:
    """Count the calls of the API for each thousand notifications, and print one table."""
    progress = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="ampeco-calls-") as made, contextlib.ExitStack() as stack:
        stands: list[Stand] = [
            stack.enter_context(stand(size, Path(made) / str(size), calls_per_minute, reconcile_seconds))
            for size in evses or (100, 500, 2_000)
        ]
        progress.print("waiting until all entities are stored")
        deadline = time.monotonic() + KNOWN_SECONDS
        while not all(running_stand.is_known() for running_stand in stands):
            if time.monotonic() > deadline:
                raise BenchError(f"not all entities were stored within {KNOWN_SECONDS} s")
            time.sleep(POLL_SECONDS)
        for running_stand in stands:
            running_stand.began = running_stand.count()
        progress.print(f"counting for {minutes:g} minutes")
        ends_at = time.monotonic() + minutes * 60
        while time.monotonic() < ends_at:
            for running_stand in stands:
                running_stand.look()
            time.sleep(POLL_SECONDS)
        table = _table(stands)
    Console(width=110).print(table)


def _table(stands: list[Stand]) -> Table:
    table = Table(title="Calls of the API for each 1,000 notifications", title_justify="left")
    for heading in ("EVSEs", "Notifications", "Refresh", "Reconcile", "Saved", "Calls / 1,000", "Longest wait"):
        table.add_column(heading, justify="right")
    for running_stand in stands:
        ended = running_stand.count()
        spent = {name: ended.get(name, 0) - running_stand.began.get(name, 0) for name in ended}
        refresh, reconcile = spent.get("refresh", 0), spent.get("reconcile", 0) + spent.get("backfill", 0)
        notifications = max(spent["notifications"], 1)
        table.add_row(
            f"{running_stand.evses:,}",
            f"{notifications:,}",
            f"{refresh:,}",
            f"{reconcile:,}",
            f"{spent.get('saved', 0):,}",
            f"{1_000 * (refresh + reconcile) / notifications:.1f}",
            f"{running_stand.max_wait_seconds:.0f} s",
        )
    return table


if __name__ == "__main__":
    leave_in_order()
    try:
        app()
    except BenchError as problem:
        sys.exit(f"bench: {problem}")
