"""The command ``derive``, which computes the tables of the schema ``analytics`` again."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from sqlalchemy import Engine

from analytics.derive import derive_round, marks_left
from receiver.commands.progress import WorkProgress, until_asked_to_stop
from receiver.environment import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.terminal import console, errors
from storage.state.marks import mark_all

#: How long to wait if another process derives for the tenant, as the service does all the time.
HELD_SECONDS = 0.2

#: What is done when no mark is left.
EVALUATING = "evaluating findings"


def derive(
    tenant: TenantOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Derive everything again, and not only what has changed.")
    ] = False,
) -> None:
    """Bring the tables of the schema analytics up to date now; the service may run at the same time."""
    with running("derive") as settings:
        require_migrated(settings)
        with database(settings, pool_size=1, process="derive") as engine:
            for name in chosen_tenants(settings, tenant):
                if everything:
                    with engine.begin() as connection:
                        mark_all(connection, name)
                changes = _derive(engine, name)
                console.print(f"{name}: {changes:,} rows changed.", highlight=False)


def _derive(engine: Engine, tenant: str) -> int:
    """Derive until nothing is marked any more; return how many rows this process changed."""
    changes = 0
    with engine.begin() as connection:
        total = marks_left(connection, tenant)
    with WorkProgress("marks") as progress, until_asked_to_stop() as stop:
        piece = progress.begin(total, tenant=tenant)
        while not stop.is_set():
            done = derive_round(engine, tenant)
            if done is None:
                time.sleep(HELD_SECONDS)
            else:
                changes += done.changes
                if done.is_done:
                    piece.advance(total)
                    return changes
            with engine.begin() as connection:
                left = marks_left(connection, tenant)
            piece.advance(max(total - left, 0), note="" if left else EVALUATING, rows=changes)
    errors.print(f"{tenant}: stopped; the service does the rest.", highlight=False)
    raise typer.Exit(stop.exit_code)
