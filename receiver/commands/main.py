"""The command line ``ampeco-receiver``."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from ampeco.errors import ApiError
from ampeco.tenants import TenantsError
from analytics.export.errors import ExportError
from migrations import MigrationError, head
from receiver.commands import alerts as alerting
from receiver.commands import derive as deriving
from receiver.commands import erase as erasing
from receiver.commands import exclude as excluding
from receiver.commands import export as exporting
from receiver.commands import migrate as migrating
from receiver.commands import rebuild as rebuilding
from receiver.commands import reconcile as reconciling
from receiver.commands import replay as replaying
from receiver.commands import resend as resending
from receiver.commands import subscribe as subscribing
from receiver.commands.chaos import chaos
from receiver.commands.check import check
from receiver.commands.doctor import doctor
from receiver.commands.status import status
from receiver.commands.tail import tail
from receiver.commands.trigger import trigger
from receiver.consume.configuration import require_kafka
from receiver.environment import (
    database,
    ending_on_sigterm,
    fail,
    fail_unexpectedly,
    require_migrated,
    running,
    warn_of_weak_durability,
)
from receiver.processes.parent_watchdog import leave_with_parent
from receiver.processes.service import bring_up_to_date, service_children, worker_children
from receiver.processes.supervisor import Supervisor
from receiver.terminal import console
from runtime.alerts import load_alerts
from runtime.errors import cause
from runtime.settings import SettingsError
from runtime.sockets import address_of
from storage.database import DatabaseEncodingError
from workers.broker import DERIVE_QUEUE, QUEUES
from workers.maintenance.erase import EraseError
from workers.maintenance.rebuild import RebuildError

#: The process that derives leaves the processor to the others, above all to those that accept and apply.
DERIVE_NICENESS = 5

#: The errors whose message is the sentence for the operator.
_CORRECTABLE = (
    SettingsError,
    TenantsError,
    MigrationError,
    DatabaseEncodingError,
    RebuildError,
    EraseError,
    ExportError,
)

app = typer.Typer(
    name="ampeco-receiver",
    help="Receives AMPECO notifications and keeps the tenants' charging state in Postgres.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def main() -> None:
    """Run the command line; print an error that an operator can correct as one sentence, with exit code 2."""
    with ending_on_sigterm():
        try:
            app()
        except _CORRECTABLE as error:
            fail(str(error))
        except ApiError as error:
            fail(f"AMPECO: {error}")
        except SQLAlchemyError as error:
            fail(f"Postgres: {cause(error)} (DATABASE_URL)")
        except RedisError as error:
            fail(f"Redis: {cause(error)} (REDIS_URL)")
        except Exception as error:  # noqa: BLE001 - the last resort: a traceback does not help an operator
            fail_unexpectedly(error)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print(f"ampeco-receiver {version('ampeco-receiver')}, tables of revision {head()}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the release and the revision of the tables that it needs.",
        ),
    ] = False,
) -> None:
    """Take the options that come before a command."""


@app.command()
def up() -> None:
    """Run everything in this terminal: embedded servers if needed, migrations, receiver, workers. Ctrl-C stops it."""
    with running("up") as settings:
        load_alerts(settings)  # a mistake in them ends this command, and not each new process of a supervisor
        if settings.kafka_brokers is not None:
            require_kafka(settings)  # as above
        bring_up_to_date(settings)
        supervisor = Supervisor(
            service_children(settings), shutdown_seconds=settings.shutdown_timeout.total_seconds() + 5
        )
        supervisor.stop_on_signals()
        address = address_of(settings.host, settings.port)
        shown = address_of(settings.console_host, settings.console_port)
        console.print(f"Receiving on http://{address}/notifications/TENANT; Ctrl-C stops.", markup=False)
        console.print(f"Console: http://{shown}", markup=False)
        supervisor.run()


@app.command()
def serve(
    processes: Annotated[int, typer.Option(min=1, help="Number of processes that share the port.")] = 1,
) -> None:
    """Run the receiver: verify, commit and acknowledge notifications."""
    from receiver.accept.serve import serve as run
    from storage.inbox.partitions import make_partitions

    with running("serve") as settings:
        require_migrated(settings, to_accept=True)
        with database(settings) as engine:
            make_partitions(engine)
            warn_of_weak_durability(engine)
        leave_with_parent()
        run(settings, processes=processes)


@app.command()
def consume() -> None:
    """Consume AMPECO's notifications from Kafka: commit each record, then its offset."""
    with running("consume") as settings:
        require_kafka(settings)
        # Imported here, so that no other command needs the client library.
        from receiver.consume.consume import consume as run
        from storage.inbox.partitions import make_partitions

        require_migrated(settings, to_accept=True)
        with database(settings) as engine:
            make_partitions(engine)
            warn_of_weak_durability(engine)
        leave_with_parent()
        run(settings)


@app.command()
def work(
    queue: Annotated[
        str | None,
        typer.Option(
            help="Serve one queue (apply, refresh, reconcile or derive) here; by default, one process for each."
        ),
    ] = None,
) -> None:
    """Run the workers: apply accepted notifications, refresh requested entities, reconcile with AMPECO."""
    from workers.process import work as run

    if queue is not None and queue not in QUEUES:
        raise typer.BadParameter(f"{queue} is not a queue; choose one of {', '.join(QUEUES)}", param_hint="--queue")
    with running(f"work {queue or ''}".strip()) as settings:
        require_migrated(settings)
        leave_with_parent()
        if queue is not None:
            if queue == DERIVE_QUEUE:
                os.nice(DERIVE_NICENESS)
            run(settings, {queue})
            return
        load_alerts(settings)  # as above
        supervisor = Supervisor(
            worker_children(settings),
            shutdown_seconds=settings.shutdown_timeout.total_seconds() + 5,
        )
        supervisor.stop_on_signals()
        supervisor.run()


@app.command("console")
def show_console() -> None:
    """Run the console: web pages that show what the service does and knows, and from which operators act."""
    from receiver.console.serve import serve_console

    with running("console") as settings:
        require_migrated(settings)
        leave_with_parent()
        serve_console(settings)


@app.command()
def demo(
    seconds: Annotated[float | None, typer.Option(help="Stop after so many seconds; by default, at Ctrl-C.")] = None,
    speed: Annotated[float, typer.Option(min=1, help="How much faster than real time the simulator runs.")] = 60,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for the data of the embedded servers.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Save the last view to this file, as SVG.")] = None,
) -> None:
    """Run the simulator and the whole service, and show a live view of the database."""
    from receiver.demo.demo import run_demo

    run_demo(seconds=seconds, speed=speed, data_dir=data_dir, picture=picture)


app.command()(status)
app.add_typer(alerting.app, name="alerts")
app.command()(check)
app.command()(doctor)
app.command()(migrating.migrate)
app.command()(subscribing.subscribe)
app.command()(subscribing.unsubscribe)
app.command()(subscribing.subscriptions)
app.command()(resending.resend)
app.command()(reconciling.backfill)
app.command()(reconciling.reconcile)
app.command()(reconciling.completeness)
app.command()(chaos)
app.command()(tail)
app.command()(trigger)
app.command("replay")(replaying.replay_log)
app.command()(rebuilding.rebuild)
app.command()(deriving.derive)
app.command()(exporting.export)
app.command()(excluding.exclude)
app.command()(erasing.erase)
