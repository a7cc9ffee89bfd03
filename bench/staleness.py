"""``python -m bench.staleness``: measure how long a row is behind its tenant under all faults at once.

A simulator runs in real time beside a complete service. When the fleet is stored, a share of its
notifications is lost, its API answers a share of the calls with 429 or 500, and the processes that read the
API are killed again and again. During that time, each EVSE's status at the tenant is compared with the stored
one several times a second, and each requested read is timed until it is done.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import orjson
import psycopg
import typer
import uvicorn
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from ampeco.api.client import Client
from bench.api_calls import SHOWN
from bench.processes import BenchError, free_port, leave_in_order, running, wait_until_answers
from bench.workers import Workers
from receiver.processes.embedded import embedded_servers
from receiver.processes.service import bring_up_to_date
from runtime.settings import Settings, load_settings
from simulator.app import Simulator
from simulator.fleet.fleet import Notification
from simulator.settings import Faults, TenantSettings
from storage.database_url import conninfo
from workers.broker import APPLY_QUEUE, RECONCILE_QUEUE, REFRESH_QUEUE
from workers.monitoring import subscriptions

TENANT = "bench"
TOKEN = "bench-token-that-opens-nothing"

#: The longest wait until the fleet is stored, in seconds.
KNOWN_SECONDS = 600

#: Fewer waiting reads than this are normal, and count as none.
MAX_WAITING = 20

#: The interval at which the stored statuses are compared with the tenant's.
POLL_SECONDS = 0.25

#: The goal for the longest time that a row is behind its tenant, in seconds.
GOAL_SECONDS = 60

#: The hour (UTC) at which most vehicles arrive. The tenant's clock starts at its latest beginning.
BUSY_HOUR = 17

#: The maximum of the simulator; every vehicle changes its EVSE's status four times.
SESSIONS_A_DAY = 48

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass
class Waits:
    """The durations of something; ``open`` counts those that were not over at the end."""

    seconds: list[float] = field(default_factory=list)
    open: int = 0

    def row(self, name: str) -> list[str]:
        """Return the cells of the table."""
        if not self.seconds:
            return [name, "0", "0", "", "", "", ""]
        ordered = sorted(self.seconds)
        late = sum(seconds > GOAL_SECONDS for seconds in ordered)
        p99 = ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)]
        shown = [statistics.median(ordered), p99, ordered[-1]]
        return [name, f"{len(ordered):,}", str(self.open), *(f"{seconds:.1f}" for seconds in shown), f"{late:,}"]


class Tenant:
    """The simulator, in a thread of this process so that its state can be read without its API."""

    def __init__(self, evses: int, port: int) -> None:
        now = datetime.now(UTC)
        busy = now.replace(hour=BUSY_HOUR, minute=0, second=0, microsecond=0)
        settings = TenantSettings(
            start=busy if busy <= now else busy - timedelta(days=1),
            evses=evses,
            charge_points=max(evses // 2, 1),
            locations=max(evses // 10, 1),
            sessions_a_day=SESSIONS_A_DAY,
        )
        self.simulator = Simulator(settings, token=TOKEN, speed=1, max_tries=8)
        #: The EVSE and the time of each status whose notification was lost.
        self.lost: set[tuple[int, datetime]] = set()
        self._watch_losses()
        config = uvicorn.Config(
            self.simulator.guard, host="127.0.0.1", port=port, log_config=None, access_log=False, date_header=False
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def _watch_losses(self) -> None:
        fault_injector = self.simulator.fault_injector
        pass_on = fault_injector.pass_on

        def watched(notifications: Iterable[Notification], now: datetime) -> list[Notification]:
            generated = list(notifications)
            if not fault_injector.faults.drop:
                return pass_on(generated, now)
            sent = pass_on(generated, now)
            sent_ids = {id(notification) for notification in sent}
            for notification in generated:
                if notification.name == "HardwareStatusNotification" and id(notification) not in sent_ids:
                    body = orjson.loads(notification.body)
                    if "evseId" in body:
                        self.lost.add((body["evseId"], datetime.fromisoformat(body["timestamp"])))
            return sent

        fault_injector.pass_on = watched  # type: ignore[method-assign] # every notification passes through it

    def __enter__(self) -> Tenant:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)


class Watch:
    """The repeated comparison of the tenant with the database."""

    def __init__(self, tenant: Tenant, connection: psycopg.Connection[Any]) -> None:
        self._tenant = tenant
        self._connection = connection
        self._seen = {evse.id: len(evse.hardware) for evse in tenant.simulator.fleet.tenant.live_evses()}
        #: EVSEs whose status is not stored yet: since when by our clock, and whether its notification was lost.
        self._behind: dict[int, tuple[float, bool]] = {}
        #: Requested reads that are not done: since when by our clock.
        self._requested: dict[tuple[str, int, datetime], float] = {}
        self.sent, self.lost, self.reads, self.urgent = Waits(), Waits(), Waits(), Waits()

    def look(self) -> None:
        """Compare the statuses and the requested reads once."""
        now = time.monotonic()
        self._look_at_statuses(now)
        self._look_at_reads(now)

    def _look_at_statuses(self, now: float) -> None:
        rows = self._connection.execute(
            "SELECT evse_id, hardware_status FROM charging.evse WHERE tenant = %s", (TENANT,)
        )
        stored = dict(rows.fetchall())
        for evse in self._tenant.simulator.fleet.tenant.live_evses():
            before = self._seen.get(evse.id, len(evse.hardware))
            self._seen[evse.id] = len(evse.hardware)
            if len(evse.hardware) > before and evse.id not in self._behind:
                was_lost = (evse.id, evse.hardware[-1].at) in self._tenant.lost
                self._behind[evse.id] = (now - POLL_SECONDS / 2, was_lost)
            if evse.id in self._behind and stored.get(evse.id) == evse.status:
                since, was_lost = self._behind.pop(evse.id)
                (self.lost if was_lost else self.sent).seconds.append(now - since)

    def _look_at_reads(self, now: float) -> None:
        rows = self._connection.execute(
            "SELECT kind, entity_id, requested_at FROM ingest.refresh_request WHERE reason <> 'gone'"
            " AND NOT EXISTS (SELECT FROM ingest.inaccessible_kind WHERE inaccessible_kind.kind = refresh_request.kind)"
        )
        waiting = {(kind, entity_id, requested_at) for kind, entity_id, requested_at in rows}
        for read in self._requested.keys() - waiting:
            self._waits(read).seconds.append(now - self._requested.pop(read))
        for read in waiting - self._requested.keys():
            self._requested[read] = now

    def _waits(self, read: tuple[str, int, datetime]) -> Waits:
        return self.urgent if read[0] in ("evse", "charge_point", "session") else self.reads

    def end(self) -> None:
        """Count the statuses and reads that are not over, each by its age."""
        now = time.monotonic()
        for since, was_lost in self._behind.values():
            waits = self.lost if was_lost else self.sent
            waits.seconds.append(now - since)
            waits.open += 1
        for read, since in self._requested.items():
            self._waits(read).seconds.append(now - since)
            self._waits(read).open += 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes and intervals of a run."""

    evses: int
    calls_per_minute: int
    reconcile_seconds: int
    readers: int
    kill_seconds: float


@contextlib.contextmanager
def stand(plan: Plan, folder: Path) -> Iterator[tuple[Tenant, Workers, psycopg.Connection[Any]]]:
    """Run a tenant, its service and the processes that will be killed."""
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
        }
        tenant = stack.enter_context(Tenant(plan.evses, ports["tenant"]))
        stack.enter_context(running("receiver", ["receiver", "serve"], environment, log))
        wait_until_answers("tenant", ports["tenant"], log, "/")
        wait_until_answers("receiver", ports["receiver"], log)
        for queue in (APPLY_QUEUE, RECONCILE_QUEUE):
            stack.enter_context(running(f"work {queue}", ["receiver", "work", "--queue", queue], environment, log))
        killed = Workers([REFRESH_QUEUE] * plan.readers, environment, folder / "readers.log", plan.kill_seconds)
        stack.callback(killed.end)
        configured = settings.model_copy(update={"tenants_file": tenants_file}).tenants[TENANT]
        with Client(configured.url, SecretStr(TOKEN)) as client:
            url = subscriptions.callback_url(f"http://127.0.0.1:{ports['receiver']}", TENANT)
            subscriptions.subscribe(client, configured, url)
        connection = stack.enter_context(psycopg.connect(conninfo(ready.required_database_url()), autocommit=True))
        yield tenant, killed, connection


def _is_known(connection: psycopg.Connection[Any]) -> bool:
    """Return whether every listing was read once, and the reads that this requested are done."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM ingest.sync_cursor),"
        " (SELECT count(*) FROM ingest.refresh_request"
        "   WHERE requested_at < now() - interval '30 s' AND reason <> 'gone')"
    ).fetchone()
    return row is not None and row[0] >= len(SHOWN) and row[1] < MAX_WAITING


@app.command()
def main(
    evses: Annotated[int, typer.Option(min=1, help="Size of the fleet.")] = 2_000,
    minutes: Annotated[float, typer.Option(min=0.1, help="Duration of the faults.")] = 3,
    drop: Annotated[float, typer.Option(min=0, max=1, help="Share of notifications that are lost.")] = 0.2,
    api_429: Annotated[float, typer.Option("--api-429", min=0, max=1, help="Share of answers that are 429.")] = 0.1,
    api_500: Annotated[float, typer.Option("--api-500", min=0, max=1, help="Share of answers that are 500.")] = 0.1,
    readers: Annotated[int, typer.Option(min=1, help="Processes that read the API.")] = 2,
    kill_seconds: Annotated[float, typer.Option(min=0, help="Average time between two kills; 0: no kills.")] = 15,
    calls_per_minute: Annotated[int, typer.Option(min=6, help="Rate limit of the tenant.")] = 1_200,
    reconcile_seconds: Annotated[int, typer.Option(min=10, help="Interval of reconciling.")] = 30,
) -> None:
    """Measure how long statuses and reads are behind under all faults at once, and print one table."""
    progress = Console(stderr=True, highlight=False)
    plan = Plan(evses, calls_per_minute, reconcile_seconds, readers, kill_seconds)
    with (
        tempfile.TemporaryDirectory(prefix="ampeco-stale-") as made,
        stand(plan, Path(made)) as (tenant, killed, connection),
    ):
        progress.print("waiting until the fleet is stored")
        deadline = time.monotonic() + KNOWN_SECONDS
        began = time.monotonic()
        while not _is_known(connection):
            if time.monotonic() > deadline:
                raise BenchError(f"the fleet was not stored within {KNOWN_SECONDS} s")
            time.sleep(1)
        progress.print(f"stored after {time.monotonic() - began:.0f} s")
        progress.print(f"injecting faults for {minutes:g} minutes")
        tenant.simulator.fault_injector.faults = Faults(drop=drop, api_429=api_429, api_500=api_500)
        watch = Watch(tenant, connection)
        killed.begin()
        ends_at = time.monotonic() + minutes * 60
        while time.monotonic() < ends_at:
            began = time.monotonic()
            watch.look()
            time.sleep(max(POLL_SECONDS - (time.monotonic() - began), 0.01))
        watch.end()
        table = Table(title=f"Seconds behind the tenant, {evses:,} EVSEs", title_justify="left")
        for heading in ("", "Times", "Open", "p50", "p99", "Longest", f"Over {GOAL_SECONDS} s"):
            table.add_column(heading, justify="left" if not heading else "right")
        together = Waits(watch.sent.seconds + watch.lost.seconds, watch.sent.open + watch.lost.open)
        table.add_row(*together.row("EVSE statuses"))
        table.add_row(*watch.sent.row("… whose notification was sent"))
        table.add_row(*watch.lost.row("… whose notification was lost"))
        table.add_row(*watch.urgent.row("reads of EVSEs, charge points, sessions"))
        table.add_row(*watch.reads.row("reads of other kinds"))
        table.caption = f"{killed.kills} kills; {sum(tenant.simulator.guard.calls.values()):,} calls answered"
    Console(width=110).print(table)


if __name__ == "__main__":
    leave_in_order()
    try:
        app()
    except BenchError as problem:
        sys.exit(f"bench: {problem}")
