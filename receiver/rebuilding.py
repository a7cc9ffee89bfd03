"""The command that computes the state anew from the log: ``rebuild``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import Engine

from receiver.invocation import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.progress import LogProgress, until_told_to_stop
from receiver.terminal import console, errors
from storage.rebuild import Difference
from storage.replay import count
from workers.rebuild import Comparison, alone, began_at, compare, fold_log, scope_of, swap

#: Values of an example that are shown; a session has fifty columns.
MAX_CHANGES = 6


def rebuild(
    tenant: TenantOption = None,
    swap_in: Annotated[
        bool, typer.Option("--swap", help="Mend what differs without asking; needed where nobody can be asked.")
    ] = False,
) -> None:
    """Compute the state anew from the log, say what differs from the live one, and mend that if told to."""
    with running("rebuild") as settings:
        require_migrated(settings)
        names = chosen_tenants(settings, tenant)
        unmended = False
        # One connection keeps others from rebuilding, one works.
        with database(settings, pool_size=2, process="rebuild") as engine, alone(engine):
            for name in names:
                found = _compare(engine, name)
                _tell(found)
                if found.differs and not _swap(engine, name, swap_in):
                    unmended = True
    if unmended:
        raise typer.Exit(1)


def _compare(engine: Engine, tenant: str) -> Comparison:
    scope, since = scope_of(engine, tenant), began_at(engine)
    with engine.begin() as connection:
        total = count(connection, scope)
    done = 0
    with LogProgress(tenant, total) as shown, until_told_to_stop() as stop:
        for logged in fold_log(engine, scope):
            done += len(logged)
            shown.advance(done, logged[-1].received_at)
            if stop.is_set():
                console.print(f"{tenant}: stopped. Nothing was changed.")
                raise typer.Exit(stop.exit_code)
    with errors.status(f"{tenant}: comparing"):
        found = compare(engine, scope, since)
    found.notifications = done
    return found


def _tell(found: Comparison) -> None:
    since = f"since {found.log_begins_at:%Y-%m-%d %H:%M:%S} UTC" if found.log_begins_at else "which holds none"
    console.print(f"{found.tenant}: {found.notifications:,} notifications of the log, {since}.", highlight=False)
    table = Table("Table", title=f"{found.tenant}: the live state beside the rebuilt one", title_justify="left")
    for heading in ("Rows", "Missing", "Extra", "Different", "Not judged"):
        table.add_column(heading, justify="right")
    for one in found.tables:
        if not one.live and not one.differs:
            continue  # one of the many kinds that a tenant has nothing of
        numbers = (one.live, one.missing, one.extra, one.different, one.moving)
        table.add_row(one.table, *(f"{number:,}" for number in numbers), style="yellow" if one.differs else None)
    console.print(table)
    for example in found.examples:
        console.print(_spell(example), markup=False, highlight=False, soft_wrap=True)
    if not found.differs:
        console.print(f"{found.tenant}: the live state is what the log and the reads make it.", highlight=False)


def _spell(example: Difference) -> str:
    if example.what == "different":
        shown = [f"{name} {live} → {rebuilt}" for name, (live, rebuilt) in list(example.changes.items())[:MAX_CHANGES]]
        more = len(example.changes) - len(shown)
        told = ", ".join([*shown, f"{more} more"] if more else shown) or "raw JSON"
        return f"  {example.table} {example.key}: {told}"
    return f"  {example.table} {example.key}: {example.what}"


def _swap(engine: Engine, tenant: str, swap_in: bool) -> bool:
    """Mend, if told to or allowed to; returns whether it was done."""
    if not swap_in and (not console.is_terminal or not typer.confirm(f"{tenant}: mend what differs?")):
        console.print(f"{tenant}: nothing was changed. Run again with --swap to mend it.", highlight=False)
        return False
    done = swap(engine, tenant)
    console.print(
        f"{tenant}: {done.rows:,} rows mended, {done.observations:,} observations added,"
        f" {done.reads:,} entities marked for a read.",
        highlight=False,
        soft_wrap=True,
    )
    return True
