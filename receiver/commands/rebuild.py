"""The command ``rebuild``, which computes the state from the log again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table
from sqlalchemy import Engine

from receiver.commands.json_output import JsonOption, print_json
from receiver.commands.progress import WorkProgress, until_asked_to_stop
from receiver.environment import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.terminal import console, errors
from storage.log.read import count
from storage.rebuild.compare import Difference
from workers.maintenance.rebuild import Comparison, Swapped, alone, began_at, compare, fold_log, scope_of, swap

#: Most values of an example that are shown; a session has fifty columns.
MAX_CHANGES = 6


def rebuild(
    tenant: TenantOption = None,
    swap_in: Annotated[
        bool, typer.Option("--swap", help="Repair the differences without asking; needed without a terminal.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compute the state from the log again, show the differences to the live state, and repair them on request."""
    with running("rebuild") as settings:
        require_migrated(settings)
        names = chosen_tenants(settings, tenant)
        can_ask = console.is_terminal and not as_json
        results: list[tuple[Comparison, Swapped | None]] = []
        # One connection holds the lock, the other one works.
        with database(settings, pool_size=2, process="rebuild") as engine, alone(engine):
            for name in names:
                comparison, swapped = _compare(engine, name), None
                if not as_json:
                    _print_comparison(comparison)
                if comparison.differs and (swap_in or (can_ask and _is_confirmed(name))):
                    swapped = swap(engine, name)
                if not as_json and comparison.differs:
                    _print_swapped(name, swapped)
                results.append((comparison, swapped))
    if as_json:
        print_json({"tenants": [_document(comparison, swapped) for comparison, swapped in results]})
    if any(comparison.differs and swapped is None for comparison, swapped in results):
        raise typer.Exit(1)


def _compare(engine: Engine, tenant: str) -> Comparison:
    scope, since = scope_of(engine, tenant), began_at(engine)
    with engine.begin() as connection:
        total = count(connection, scope)
    done = 0
    with WorkProgress("notifications") as progress, until_asked_to_stop() as stop:
        piece = progress.begin(total, tenant=tenant)
        for logged in fold_log(engine, scope):
            done += len(logged)
            piece.advance(done, reached_at=logged[-1].received_at.isoformat())
            if stop.is_set():
                errors.print(f"{tenant}: stopped. Nothing was changed.")
                raise typer.Exit(stop.exit_code)
    with errors.status(f"{tenant}: comparing"):
        comparison = compare(engine, scope, since)
    comparison.notifications = done
    return comparison


def _print_comparison(comparison: Comparison) -> None:
    begins_at, tenant = comparison.log_begins_at, comparison.tenant
    log = f"the log since {begins_at:%Y-%m-%d %H:%M:%S} UTC" if begins_at else "the empty log"
    console.print(f"{tenant}: {comparison.notifications:,} notifications of {log}.", highlight=False)
    table = Table("Table", title=f"{tenant}: the live state compared with the rebuilt one", title_justify="left")
    for heading in ("Rows", "Missing", "Extra", "Different", "Not judged"):
        table.add_column(heading, justify="right")
    for compared in comparison.tables:
        if not compared.live and not compared.differs:
            continue  # one of the many kinds of which a tenant has no entities
        numbers = (compared.live, compared.missing, compared.extra, compared.different, compared.moving)
        style = "yellow" if compared.differs else None
        table.add_row(compared.table, *(f"{number:,}" for number in numbers), style=style)
    console.print(table)
    for example in comparison.examples:
        console.print(_example_line(example), highlight=False, soft_wrap=True)
    if not comparison.differs:
        console.print(f"{tenant}: the live state equals the rebuilt one.", highlight=False)


def _example_line(example: Difference) -> str:
    if example.what == "different":
        shown = [f"{name} {live} → {rebuilt}" for name, (live, rebuilt) in list(example.changes.items())[:MAX_CHANGES]]
        more = len(example.changes) - len(shown)
        changes = ", ".join([*shown, f"{more} more"] if more else shown) or "raw JSON"
        return f"  {example.table} {example.key}: {changes}"
    return f"  {example.table} {example.key}: {example.what}"


def _is_confirmed(tenant: str) -> bool:
    return typer.confirm(f"{tenant}: repair the differences?")


def _print_swapped(tenant: str, swapped: Swapped | None) -> None:
    if swapped is None:
        line = "nothing was changed. Run it with --swap to repair the differences."
    else:
        line = (
            f"{swapped.rows:,} rows repaired, {swapped.observations:,} observations added,"
            f" {swapped.reads:,} reads requested."
        )
    console.print(f"{tenant}: {line}", highlight=False, soft_wrap=True)


def _document(comparison: Comparison, swapped: Swapped | None) -> dict[str, Any]:
    return {
        "tenant": comparison.tenant,
        "log_begins_at": comparison.log_begins_at,
        "notifications": comparison.notifications,
        "differs": comparison.differs,
        "tables": [asdict(compared) for compared in comparison.tables],
        "examples": [asdict(example) for example in comparison.examples],
        "swapped": None if swapped is None else asdict(swapped),
    }
