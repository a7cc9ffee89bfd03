"""``ampeco-receiver chaos``: the command line of :mod:`receiver.demo.chaos`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ampeco.tenants import TenantsError
from receiver.commands.json_output import JsonOption, print_json
from receiver.commands.speed import SpeedOption
from receiver.commands.urls import url_option
from receiver.environment import database, running
from receiver.terminal import console, styled
from runtime.settings import load_settings

if TYPE_CHECKING:
    from receiver.demo.chaos import Verdict

#: A month, minutes.
MAX_MINUTES = 31 * 24 * 60.0

#: More of them than any tenant has.
MAX_FLEET = 1_000_000

#: How many of the times that a promise was broken the table shows.
EXAMPLES = 5


def chaos(
    against: Annotated[str, url_option("--against", "URL of the receiver, such as http://receiver:8080.")],
    tenant: Annotated[str, typer.Option(help="The tenant that the simulator replaces.")] = "chaos",
    minutes: Annotated[
        float, typer.Option(min=0.05, max=MAX_MINUTES, help="How long the simulator sends, minutes.")
    ] = 10,
    settle_minutes: Annotated[
        float,
        typer.Option(min=0.1, max=MAX_MINUTES, help="Longest wait until everything is applied and read, minutes."),
    ] = 10,
    host: Annotated[str, typer.Option(help="Address that the simulator listens on.")] = "127.0.0.1",
    speed: SpeedOption = 300,
    charge_points: Annotated[int, typer.Option(min=1, max=MAX_FLEET, help="Number of simulated charge points.")] = 40,
    evses: Annotated[int, typer.Option(min=1, max=MAX_FLEET, help="Number of simulated EVSEs.")] = 80,
    seed: Annotated[int, typer.Option(help="Seed of the fleet and the faults; the same seed repeats them.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Run the simulator with faults against a deployment, and check that nothing was lost; exit code 1 if it was."""
    from receiver.demo.chaos import Plan, run

    settings = load_settings()
    if tenant not in settings.tenants:
        raise TenantsError(
            f"--tenant: {tenant} is not in {settings.tenants_file}; see docs/operations/running.md, Chaos."
        )
    plan = Plan(
        settings.tenants[tenant],
        against,
        seconds=60 * minutes,
        settle_seconds=60 * settle_minutes,
        host=host,
        seed=seed,
        options={
            "speed": str(speed),
            "charge-points": str(charge_points),
            "evses": str(evses),
            "seed": str(seed),
        },
    )
    with running("chaos") as ready, database(ready, process="chaos") as engine:
        verdict = run(plan, engine)
    if as_json:
        print_json(_document(verdict))
    else:
        console.print(_table(verdict))
    if not verdict.is_kept:
        raise typer.Exit(1)


def _table(verdict: Verdict) -> Table:
    table = Table("Promise", title="Chaos", title_justify="left")
    for heading in ("Checked", "Broken"):
        table.add_column(heading, justify="right")
    table.add_column("For example", overflow="fold")
    for promise, checked, broken in verdict.lines:
        count = styled("red" if broken else "green", f"{len(broken):,}")
        table.add_row(promise, f"{checked:,}", count, "\n".join(broken[:EXAMPLES]))
    table.caption = ", ".join(f"{name} {count:,}" for name, count in verdict.sent.items())
    return table


def _document(verdict: Verdict) -> dict[str, Any]:
    return {
        "is_kept": verdict.is_kept,
        "promises": [
            {"promise": promise, "checked": checked, "broken": broken} for promise, checked, broken in verdict.lines
        ],
        "sent": verdict.sent,
    }
