"""The command ``serve``, which runs the receiver."""

from __future__ import annotations

from typing import Annotated

import typer

from receiver.accept.serve import serve as run
from receiver.environment import database, require_migrated, running, warn_of_weak_durability
from receiver.processes.parent_watchdog import leave_with_parent
from storage.inbox.partitions import make_partitions

#: More of them than the machines that this runs on have processors.
MAX_PROCESSES = 1_024


def serve(
    processes: Annotated[
        int, typer.Option(min=1, max=MAX_PROCESSES, help="Number of processes that share the port.")
    ] = 1,
) -> None:
    """Run the receiver: verify, commit and acknowledge notifications."""
    with running("serve") as settings:
        require_migrated(settings, to_accept=True)
        with database(settings) as engine:
            make_partitions(engine)
            warn_of_weak_durability(engine)
        leave_with_parent()
        run(settings, processes=processes)
