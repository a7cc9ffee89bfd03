"""``ampeco-receiver``: the command line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from ampeco.errors import ApiError
from ampeco.tenants import TenantsError
from migrations import MigrationError
from receiver import forgetting, migrating, rebuilding, reconciling, replaying, resending, subscribing
from receiver.chaos_command import chaos
from receiver.console import (
    console,
    overview_table,
    pending_lines,
    process_table,
    queue_table,
    refusal_table,
    trouble_table,
    unknown_table,
)
from receiver.invocation import (
    database,
    ending_on_sigterm,
    fail,
    fail_unexpectedly,
    require_migrated,
    running,
    warn_of_weak_durability,
)
from receiver.orphans import leave_with_parent
from receiver.service import bring_up_to_date, service_children, worker_children
from receiver.supervisor import Supervisor
from receiver.watching import resend_lines, token_table, watch_table, watched
from storage.database import DatabaseEncodingError
from storage.drift import unknown
from storage.overview import overview, troubles
from storage.processes import list_processes
from storage.refusals import refusals
from storage.retention import complete_since
from workers.broker import QUEUES, create_broker, create_redis
from workers.clock_watch import ClockOffset, wrong_clocks
from workers.errors import cause
from workers.forgetting import ForgetError
from workers.pause import pause_reason, paused_for
from workers.rebuild import RebuildError
from workers.settings import Settings, SettingsError
from workers.sockets import address_of

app = typer.Typer(
    name="ampeco-receiver",
    help="Receives AMPECO notifications and keeps the tenants' charging state in Postgres.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


def main() -> None:
    """Run the command line; what an operator can put right is said in one sentence, with exit code 2."""
    with ending_on_sigterm():
        try:
            app()
        except (SettingsError, TenantsError, MigrationError, DatabaseEncodingError, RebuildError, ForgetError) as error:
            fail(str(error))
        except ApiError as error:
            fail(f"AMPECO: {error}")
        except SQLAlchemyError as error:
            fail(f"Postgres: {cause(error)} (DATABASE_URL)")
        except RedisError as error:
            fail(f"Redis: {cause(error)} (REDIS_URL)")
        except Exception as error:  # noqa: BLE001 - the last resort: a traceback tells an operator nothing
            fail_unexpectedly(error)


@app.command()
def up() -> None:
    """Run everything in this terminal: servers if embedded, migrations, receiver, workers. Ctrl-C stops it."""
    with running("up") as settings:
        bring_up_to_date(settings)
        supervisor = Supervisor(
            service_children(settings), shutdown_seconds=settings.shutdown_timeout.total_seconds() + 5
        )
        supervisor.stop_on_signals()
        address = address_of(settings.host, settings.port)
        console.print(f"Receiving on http://{address}/notifications/TENANT; Ctrl-C stops.", markup=False)
        supervisor.run()


@app.command()
def serve(
    processes: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
) -> None:
    """Run the receiver: verify, commit, acknowledge."""
    from receiver.serve import serve as run
    from workers.process import make_partitions

    with running("serve") as settings:
        require_migrated(settings, to_accept=True)
        with database(settings) as engine:
            make_partitions(engine)
            warn_of_weak_durability(engine)
        leave_with_parent()
        run(settings, processes=processes)


@app.command()
def work(
    queue: Annotated[
        str | None,
        typer.Option(
            help="Serve one queue (apply, refresh or reconcile) in this process; left out, a process for each."
        ),
    ] = None,
) -> None:
    """Run the workers: apply what was accepted, refresh what is known only in part, reconcile with the tenant."""
    from workers.process import work as run

    if queue is not None and queue not in QUEUES:
        raise typer.BadParameter(f"there is no queue {queue}; there are {', '.join(QUEUES)}", param_hint="--queue")
    with running(f"work {queue or ''}".strip()) as settings:
        require_migrated(settings)
        leave_with_parent()
        if queue is not None:
            run(settings, {queue})
            return
        supervisor = Supervisor(
            worker_children(settings),
            shutdown_seconds=settings.shutdown_timeout.total_seconds() + 5,
        )
        supervisor.stop_on_signals()
        supervisor.run()


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show notifications by state, what waits to be read, and whether each tenant is subscribed and heard."""
    with running("status") as settings, database(settings) as engine:
        require_migrated(settings)
        with engine.connect() as connection:
            tenants = overview(connection, sorted(settings.tenants))
            found = troubles(connection)
            refused = refusals(connection)
            new = unknown(connection)
            watch = watched(connection, settings.tenants)
            complete = complete_since(connection)
            processes = list_processes(connection)
        side = _redis_side(settings, [tenant.tenant for tenant in tenants])
        if as_json:
            document = {
                "tenants": [asdict(tenant) for tenant in tenants],
                "processes": [asdict(process) | {"state": process.state} for process in processes],
                "redis": {"ok": side.failure is None, "detail": side.failure or "answers"},
                "queues": side.queues,
                "wrong_clocks": [asdict(wrong) for wrong in side.wrong_clocks],
                "paused": {name: {"seconds": left, "reason": why} for name, (left, why) in side.pauses.items()},
                "troubles": [asdict(trouble) for trouble in found],
                "refusals": [asdict(refusal) for refusal in refused],
                "unknown": [asdict(one) for one in new],
                "log_complete_since": complete,
            } | watch.document()
            console.print_json(json.dumps(document, default=_spelled))
            return
        console.print(overview_table(tenants, side.pauses))
        for line in pending_lines(tenants):
            console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
        console.print(process_table(processes))
        for wrong in side.wrong_clocks:
            console.print(f"Clock: {wrong}.", style="yellow", markup=False, highlight=False, soft_wrap=True)
        if side.failure is None:
            console.print(queue_table(side.queues))
        else:
            told = f"Queues and pauses are not known, as Redis fails: {side.failure} (REDIS_URL)"
            console.print(told, style="yellow", markup=False, highlight=False, soft_wrap=True)
        console.print(watch_table(watch))
        tokens = token_table(watch.tokens)
        if tokens.row_count:
            console.print(tokens)
        for line in resend_lines(watch.resends):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if refused:
            console.print(refusal_table(refused))
        if found:
            console.print(trouble_table(found))
        if new:
            console.print(unknown_table(new))
        if complete is not None:
            console.print(f"The log holds everything since {complete:%Y-%m-%d %H:%M} UTC.", highlight=False)


def _spelled(value: datetime | UUID) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


@dataclass(frozen=True, slots=True)
class _RedisSide:
    """What Redis shows, which holds no truth: queue lengths, paused tenants, wrong clocks, and why it fails."""

    queues: dict[str, int]
    pauses: dict[str, tuple[float, str]]
    wrong_clocks: list[ClockOffset]
    failure: str | None = None


def _redis_side(settings: Settings, tenants: list[str]) -> _RedisSide:
    client = create_redis(settings.required_redis_url())
    try:
        broker = create_broker(client)
        lengths = {queue: int(broker.do_qsize(queue)) for queue in QUEUES}
        pauses = {
            tenant: (left, pause_reason(client, tenant) or "")
            for tenant in tenants
            if (left := paused_for(client, tenant))
        }
        return _RedisSide(lengths, pauses, wrong_clocks(client))
    except RedisError as error:
        return _RedisSide({}, {}, wrong_clocks(None), cause(error))
    finally:
        client.close()


@app.command()
def demo(
    seconds: Annotated[float | None, typer.Option(help="Stop by itself after this long; left out, at Ctrl-C.")] = None,
    speed: Annotated[float, typer.Option(min=1, help="How much faster than real time the stand-in tenant lives.")] = 60,
    data_dir: Annotated[Path | None, typer.Option(help="Where the embedded servers keep their data.")] = None,
) -> None:
    """Show the whole path at work: a stand-in tenant, the service, and a live view of the database."""
    from receiver.demo import run_demo

    run_demo(seconds=seconds, speed=speed, data_dir=data_dir)


app.command()(migrating.migrate)
app.command()(subscribing.subscribe)
app.command()(subscribing.unsubscribe)
app.command()(subscribing.subscriptions)
app.command()(resending.resend)
app.command()(reconciling.backfill)
app.command()(reconciling.reconcile)
app.command()(reconciling.truth)
app.command()(chaos)
app.command("replay")(replaying.replay_log)
app.command()(rebuilding.rebuild)
app.command()(forgetting.forget)
