"""``python -m bench.api_calls``: count the API calls that it takes to follow a tenant, calm and in chaos.

For each size of the fleet, two simulators run in real time, each beside a complete service of its own, all of them at
the same time. Both are backfilled beside live traffic. Then the calls of one reconcile interval are counted: of one
tenant in peace, of the other one while notifications are lost, late and repeated, its API fails, CDRs are in no
listing, and the work processes are killed one after another. Each figure is of all calls, whatever their reason.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import psycopg
import typer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from ampeco.api.client import Client
from ampeco.resources.kinds import KINDS
from bench.processes import BenchError, free_port, leave_in_order, running, stop, tail, wait_until_answers
from bench.workers import Workers
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

#: Vehicles that arrive at an EVSE on a busy day, and CDRs for each of them.
SESSIONS_A_DAY = 12
CDRS_OF_A_SESSION = 0.05

#: Share of the CDRs of a tenant in chaos that no listing shows.
UNLISTED_CDRS = 0.3

#: The hour (UTC) at which most vehicles arrive. The tenants' clocks start at its latest beginning.
BUSY_HOUR = 17

POLL_SECONDS = 1.0

#: How often a line shows the progress.
PROGRESS_SECONDS = 15.0

#: The goal: calls for each 1,000 notifications.
GOAL = 40

#: The kinds whose listings the simulator has.
SHOWN = tuple(name for name, kind in KINDS.items() if kind.has_listing)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """The conditions of a run; ``faults`` are the fault profile of the tenants in chaos."""

    calls_per_minute: int
    reconcile_seconds: int
    kill_seconds: float
    faults: dict[str, float]


@dataclass
class Stand:
    """A running tenant and its service, with the counts at the beginning of the measurement."""

    evses: int
    is_chaos: bool
    connection: psycopg.Connection[Any]
    workers: Workers
    control_url: str
    log: Path
    began: dict[str, int] = field(default_factory=dict)
    max_wait_seconds: float = 0.0
    is_known: bool = False
    state: str = "starting"

    @property
    def name(self) -> str:
        """The size of the fleet and the scene."""
        return f"{self.evses:,} EVSEs {'in chaos' if self.is_chaos else 'calm'}"

    def one(self, query: str) -> Any:
        """Return the only value that a query selects."""
        row = self.connection.execute(query).fetchone()
        return None if row is None else row[0]

    def look_whether_known(self) -> None:
        """Find out whether every listing was read completely, and the reads that this requested are done."""
        shown = ", ".join(f"'{kind}'" for kind in SHOWN)
        unlisted = len(SHOWN) - self.one(
            f"SELECT count(*) FROM ingest.sync_cursor WHERE full_at IS NOT NULL AND kind IN ({shown})"
        )
        waiting = self.one(
            "SELECT count(*) FROM ingest.refresh_request WHERE requested_at < now() - interval '30 seconds'"
            " AND reason <> 'gone' AND reference = ''"
        )
        self.is_known = unlisted == 0 and waiting == 0
        self.state = f"{unlisted} listings and {waiting} reads to do"

    def begin(self, faults: dict[str, float]) -> None:
        """Begin the count, and the chaos."""
        self.began = self.count()
        if self.is_chaos:
            httpx.patch(f"{self.control_url}/control/faults", json=faults, trust_env=False).raise_for_status()
            self.workers.begin()

    def count(self) -> dict[str, int]:
        """Return the notifications, the calls by their reason, and the saved calls since the start."""
        rows = self.connection.execute("SELECT reason, sum(calls), sum(saved) FROM ingest.api_usage GROUP BY reason")
        counted = {"notifications": int(self.one("SELECT coalesce(sum(notifications), 0) FROM ingest.batch"))}
        for reason, calls, saved in rows:
            counted[reason] = int(calls)
            counted["saved"] = counted.get("saved", 0) + int(saved)
        answered = httpx.get(f"{self.control_url}/control/state", trust_env=False).raise_for_status().json()
        counted["all"] = sum(answered["calls"].values())
        return counted

    def spent(self) -> dict[str, int]:
        """Return what was counted since the beginning of the measurement."""
        ended = self.count()
        return {name: ended[name] - self.began.get(name, 0) for name in ended}

    def look(self) -> None:
        """Measure the wait of the oldest requested read, except of what is missing, which waits on purpose."""
        waited = self.one(
            "SELECT extract(epoch FROM now() - min(requested_at)) FROM ingest.refresh_request"
            " WHERE reason <> 'gone' AND reference = ''"
        )
        self.max_wait_seconds = max(self.max_wait_seconds, float(waited or 0))


@contextlib.contextmanager
def stand(evses: int, is_chaos: bool, folder: Path, plan: Plan) -> Iterator[Stand]:
    """Run a tenant of one size and its service, and backfill it."""
    folder.mkdir()
    log = folder / "bench.log"
    ports = {name: free_port() for name in ("tenant", "receiver")}
    tenants_file = folder / "tenants.toml"
    tenants_file.write_text(
        f'[tenants.{TENANT}]\nbase_url = "http://127.0.0.1:{ports["tenant"]}"\ntoken = "{TOKEN}"\n'
        f"calls_per_minute = {plan.calls_per_minute}\n"
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
            "RECEIVER_RECONCILE_INTERVAL": str(plan.reconcile_seconds),
            "RECEIVER_LOG_FORMAT": "json",
            "AMPECO_SIMULATOR_TOKEN": TOKEN,
        }
        fleet = ["--evses", str(evses), "--charge-points", str(evses // 2), "--locations", str(max(evses // 10, 1))]
        cdrs = ["--cdrs-a-day", str(evses * SESSIONS_A_DAY * CDRS_OF_A_SESSION)]
        cdrs += ["--unlisted-cdrs", str(UNLISTED_CDRS if is_chaos else 0)]
        now = datetime.now(UTC)
        busy = now.replace(hour=BUSY_HOUR, minute=0, second=0, microsecond=0)
        start = busy if busy <= now else busy - timedelta(days=1)
        pace = ["--speed", "1", "--sessions-a-day", str(SESSIONS_A_DAY), "--start", start.isoformat()]
        tenant = ["simulator", "run", "--port", str(ports["tenant"]), *fleet, *cdrs, *pace]
        stack.enter_context(running(f"tenant of {evses}", tenant, environment, log))
        stack.enter_context(running("receiver", ["receiver", "serve"], environment, log))
        wait_until_answers("tenant", ports["tenant"], log, "/")
        wait_until_answers("receiver", ports["receiver"], log)
        workers = Workers([*QUEUES], environment, folder / "workers.log", plan.kill_seconds)
        stack.callback(workers.end)
        configured = settings.model_copy(update={"tenants_file": tenants_file}).tenants[TENANT]
        with Client(configured.url, SecretStr(TOKEN)) as client:
            url = subscriptions.callback_url(f"http://127.0.0.1:{ports['receiver']}", TENANT)
            subscriptions.subscribe(client, configured, url)
        # It ends by itself, with 0 or, because the simulator does not offer every kind, with 1.
        with (folder / "backfill.log").open("ab") as output:
            command = [sys.executable, "-m", "receiver", "backfill"]
            backfill = subprocess.Popen(
                command, env=os.environ | environment, process_group=0, stdout=output, stderr=output
            )
        stack.callback(stop, backfill)
        connection = stack.enter_context(psycopg.connect(conninfo(ready.required_database_url()), autocommit=True))
        yield Stand(evses, is_chaos, connection, workers, f"http://127.0.0.1:{ports['tenant']}", log)


@app.command()
def main(
    evses: Annotated[list[int] | None, typer.Option(help="Sizes of the fleet; the default is 80 and 2000.")] = None,
    minutes: Annotated[float, typer.Option(min=0.5, help="Duration of the count.")] = 15,
    calls_per_minute: Annotated[int, typer.Option(min=6, help="Rate limit of each tenant.")] = 300,
    reconcile_seconds: Annotated[int, typer.Option(min=10, help="Interval of reconciling.")] = 900,
    drop: Annotated[float, typer.Option(min=0, max=1, help="Chaos: share of notifications that are lost.")] = 0.1,
    delay: Annotated[float, typer.Option(min=0, max=1, help="Chaos: share that is late.")] = 0.2,
    delay_seconds: Annotated[float, typer.Option(min=0, help="Chaos: the longest delay.")] = 1_200,
    duplicate: Annotated[float, typer.Option(min=0, max=1, help="Chaos: share that is sent twice.")] = 0.1,
    api_429: Annotated[float, typer.Option("--api-429", min=0, max=1, help="Chaos: share of answers with 429.")] = 0.02,
    api_500: Annotated[float, typer.Option("--api-500", min=0, max=1, help="Chaos: share of answers with 500.")] = 0.05,
    kill_seconds: Annotated[float, typer.Option(min=0, help="Chaos: average time between two kills.")] = 45,
    calm: Annotated[bool, typer.Option(help="Measure tenants in peace.")] = True,
    chaos: Annotated[bool, typer.Option(help="Measure tenants in chaos.")] = True,
) -> None:
    """Count the calls of the API for each thousand notifications, and print one table."""
    progress = Console(stderr=True, highlight=False, soft_wrap=True)
    faults = {
        "drop": drop,
        "delay": delay,
        "delay_max_seconds": delay_seconds,
        "duplicate": duplicate,
        "api_429": api_429,
        "api_500": api_500,
    }
    plan = Plan(calls_per_minute, reconcile_seconds, kill_seconds, faults)
    kinds_of_scene = [is_chaos for is_chaos, is_wanted in ((False, calm), (True, chaos)) if is_wanted]
    scenes = [(size, is_chaos) for size in evses or (80, 2_000) for is_chaos in kinds_of_scene]
    with tempfile.TemporaryDirectory(prefix="ampeco-calls-") as made, contextlib.ExitStack() as stack:
        stands: list[Stand] = []
        for number, (size, is_chaos) in enumerate(scenes):
            progress.print(f"starting {size:,} EVSEs, {'chaos' if is_chaos else 'calm'}")
            stands.append(stack.enter_context(stand(size, is_chaos, Path(made) / str(number), plan)))
        _wait_until_known(stands, progress)
        for running_stand in stands:
            running_stand.begin(faults)
        _count(stands, minutes, progress)
        table = _table(stands)
    Console(width=120).print(table)


def _wait_until_known(stands: list[Stand], progress: Console) -> None:
    began = shown_at = time.monotonic()
    while True:
        for running_stand in stands:
            running_stand.look_whether_known()
        now = time.monotonic()
        if all(running_stand.is_known for running_stand in stands):
            progress.print(f"{now - began:.0f} s: all entities are stored")
            return
        if now - began > KNOWN_SECONDS:
            behind = [running_stand for running_stand in stands if not running_stand.is_known]
            states = "; ".join(f"{each.name}: {each.state}" for each in behind)
            raise BenchError(
                f"not all entities were stored within {KNOWN_SECONDS} s ({states}):\n{tail(behind[0].log)}"
            )
        if now - shown_at >= PROGRESS_SECONDS:
            shown_at = now
            states = "; ".join(f"{each.name}: {'known' if each.is_known else each.state}" for each in stands)
            progress.print(f"{now - began:.0f} s: backfilling: {states}")
        time.sleep(POLL_SECONDS)


def _count(stands: list[Stand], minutes: float, progress: Console) -> None:
    began = shown_at = time.monotonic()
    while (now := time.monotonic()) < began + minutes * 60:
        for running_stand in stands:
            running_stand.look()
        if now - shown_at >= PROGRESS_SECONDS:
            shown_at = now
            spent = [(each, each.spent()) for each in stands]
            states = "; ".join(f"{each.name}: {of['all']:,} calls, {of['notifications']:,}" for each, of in spent)
            progress.print(f"{now - began:.0f} of {minutes * 60:.0f} s: counting: {states} notifications")
        time.sleep(POLL_SECONDS)


def _table(stands: list[Stand]) -> Table:
    table = Table(
        title=f"Calls of the API for each 1,000 notifications (goal: at most {GOAL})",
        title_justify="left",
        caption="All: answered by the tenant. Backfill: before the count. Logs: status logs. Wait: the longest.",
    )
    table.add_column("Tenant")
    for heading in (
        "Backfill",
        "Notices",
        "Refresh",
        "Reconcile",
        "Logs",
        "All",
        "/ 1,000",
        "Saved",
        "Kills",
        "Wait",
    ):
        table.add_column(heading, justify="right")
    for running_stand in stands:
        spent = running_stand.spent()
        notifications = max(spent["notifications"], 1)
        table.add_row(
            running_stand.name,
            f"{running_stand.began['all']:,}",
            f"{notifications:,}",
            f"{spent.get('refresh', 0):,}",
            f"{spent.get('reconcile', 0) + spent.get('backfill', 0):,}",
            f"{spent.get('status_log', 0):,}",
            f"{spent['all']:,}",
            f"{1_000 * spent['all'] / notifications:.1f}",
            f"{spent.get('saved', 0):,}",
            f"{running_stand.workers.kills:,}",
            f"{running_stand.max_wait_seconds:.0f} s",
        )
    return table


if __name__ == "__main__":
    leave_in_order()
    try:
        app()
    except BenchError as problem:
        sys.exit(f"bench: {problem}")
