"""The command ``work``, which runs the workers."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from receiver.commands.group import importing
from receiver.environment import require_migrated, running
from receiver.processes.parent_watchdog import leave_with_parent
from receiver.processes.service import worker_children
from receiver.processes.supervisor import Supervisor
from runtime.alerts import load_alerts
from workers.broker import DERIVE_QUEUE, QUEUES

#: The process that derives leaves the processor to the others, above all to those that accept and apply.
DERIVE_NICENESS = 5


def work(
    queue: Annotated[
        str | None,
        typer.Option(
            help="Serve one queue (apply, refresh, reconcile or derive) here; by default, one process for each."
        ),
    ] = None,
) -> None:
    """Run the workers: apply accepted notifications, refresh requested entities, reconcile with AMPECO."""
    if queue is not None and queue not in QUEUES:
        raise typer.BadParameter(f"{queue} is not a queue; choose one of {', '.join(QUEUES)}", param_hint="--queue")
    with running(f"work {queue or ''}".strip()) as settings:
        require_migrated(settings)
        leave_with_parent()
        if queue is not None:
            with importing():  # a process that only starts the others does without
                from workers.process import work as run

            if queue == DERIVE_QUEUE:
                os.nice(DERIVE_NICENESS)
            run(settings, {queue})
            return
        load_alerts(settings)  # so that a mistake in them ends this command, and not each new process
        supervisor = Supervisor(
            worker_children(settings),
            shutdown_seconds=settings.shutdown_timeout.total_seconds() + 5,
        )
        supervisor.stop_on_signals()
        supervisor.run()
