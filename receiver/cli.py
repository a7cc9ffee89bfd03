"""``ampeco-receiver``: the command line."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

import migrations
from ampeco.errors import ApiError
from ampeco.tenants import TenantsError
from receiver import forgetting, rebuilding, reconciling, replaying, resending, subscribing
from receiver.chaos_command import chaos
from receiver.console import (
    console,
    errors,
    overview_table,
    pending_lines,
    queue_table,
    refusal_table,
    trouble_table,
    unknown_table,
)
from receiver.invocation import database, require_migrated, running
from receiver.orphans import leave_with_parent
from receiver.service import bring_up_to_date, service_children, worker_children
from receiver.supervisor import Supervisor
from receiver.watching import resend_lines, token_table, watch_table, watched
from storage.drift import unknown
from storage.overview import overview, troubles
from storage.refusals import refusals
from storage.retention import complete_since
from workers.broker import QUEUES, create_broker, create_redis
from workers.clock_watch import ClockOffset, wrong_clocks
from workers.forgetting import ForgetError
from workers.pause import pause_reason, paused_for
from workers.rebuild import RebuildError
from workers.settings import Settings, SettingsError

app = typer.Typer(
    name="ampeco-receiver",
    help="Receives AMPECO notifications and keeps the tenants' charging state in Postgres.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


def main() -> None:
    """Run the command line; what an operator can mend is told in one sentence, with exit code 2."""
    try:
        app()
    except (SettingsError, TenantsError, RebuildError, ForgetError) as error:
        _fail(str(error))
    except ApiError as error:
        _fail(f"AMPECO: {error}")
    except DBAPIError as error:
        _fail(f"Postgres: {str(error.orig).strip().splitlines()[0]} (DATABASE_URL)")
    except RedisError as error:
        _fail(f"Redis: {error} (REDIS_URL)")


def _fail(message: str) -> None:
    errors.print(f"ampeco-receiver: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(2)


@app.command()
def up() -> None:
    """Run everything in this terminal: servers if embedded, migrations, receiver, workers. Ctrl-C stops it."""
    with running("up") as settings:
        bring_up_to_date(settings)
        supervisor = Supervisor(
            service_children(settings), shutdown_seconds=settings.shutdown_timeout.total_seconds() + 5
        )
        supervisor.stop_on_signals()
        console.print(f"Receiving on http://{settings.host}:{settings.port}/notifications/TENANT; Ctrl-C stops.")
        supervisor.run()


@app.command()
def serve(
    processes: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
) -> None:
    """Run the receiver: verify, commit, acknowledge."""
    from receiver.serve import serve as run
    from workers.process import make_partitions

    with running("serve") as settings:
        require_migrated(settings)
        with database(settings) as engine:
            make_partitions(engine)
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
def migrate(
    revision: Annotated[str, typer.Argument(help="Revision to go to, up or down; `base` removes everything.")] = "head",
) -> None:
    """Bring the database to this release's tables, and make the log's partitions ahead of time."""
    from workers.process import make_partitions

    with running("migrate", needs_tenants=False) as settings, database(settings) as engine:
        with engine.connect() as connection:
            before = migrations.current(connection)
        target = migrations.head() if revision == "head" else revision
        if target != "base" and (before is None or before <= target):
            missing = migrations.upgrade(engine, target)
            if target == before:
                console.print(f"The database is at revision {before} already.")
            else:
                console.print(f"Migrated from {before or 'nothing'} to {target}.")
            if missing:
                errors.print(migrations.roles.advice(missing), style="yellow", markup=False, soft_wrap=True)
        else:
            migrations.downgrade(engine, target)
            console.print(f"Migrated back from {before} to {target}.")
        if target == migrations.head():
            make_partitions(engine)


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
        lengths, pauses, clocks = _redis_side(settings, [tenant.tenant for tenant in tenants])
        if as_json:
            document = {
                "tenants": [asdict(tenant) for tenant in tenants],
                "queues": lengths,
                "wrong_clocks": [asdict(one) for one in clocks],
                "paused": {name: {"seconds": left, "reason": why} for name, (left, why) in pauses.items()},
                "troubles": [asdict(trouble) for trouble in found],
                "refusals": [asdict(refusal) for refusal in refused],
                "unknown": [asdict(one) for one in new],
                "log_complete_since": complete,
            } | watch.document()
            console.print_json(json.dumps(document, default=_spelled))
            return
        console.print(overview_table(tenants, pauses))
        for line in pending_lines(tenants):
            console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
        for wrong in clocks:
            console.print(f"Clock: {wrong}.", style="yellow", markup=False, highlight=False, soft_wrap=True)
        console.print(queue_table(lengths) if lengths else "Queues: [yellow]Redis does not answer[/]")
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


def _redis_side(
    settings: Settings, tenants: list[str]
) -> tuple[dict[str, int], dict[str, tuple[float, str]], list[ClockOffset]]:
    """Queue lengths, paused tenants and wrong clocks; empty where Redis does not answer, as it holds no truth."""
    client = create_redis(settings.required_redis_url())
    try:
        broker = create_broker(client)
        lengths = {queue: int(broker.do_qsize(queue)) for queue in QUEUES}
        pauses = {
            tenant: (left, pause_reason(client, tenant) or "")
            for tenant in tenants
            if (left := paused_for(client, tenant))
        }
        return lengths, pauses, wrong_clocks(client)
    except RedisError:
        return {}, {}, wrong_clocks(None)
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
