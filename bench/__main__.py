"""``python -m bench``: measure everything in one run on one machine, and print one table."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import console as console_bench
from bench.applied import Visible, accepted_and_applied, until_visible, wait_until_derived, wait_until_settled
from bench.costs import measure as measure_costs
from bench.costs import render as render_costs
from bench.disk import measure as measure_growth
from bench.disk import render as render_growth
from bench.few import measure as measure_few
from bench.few import render as render_few
from bench.generator import Figures, Generator
from bench.growth import EVSES
from bench.growth import measure as measure_analytics
from bench.growth import render as render_analytics
from bench.load import Fleet, began_at
from bench.memory import COLUMNS
from bench.memory import measure as measure_memory
from bench.memory import render as render_memory
from bench.processes import BenchError, leave_in_order
from bench.results import Results, Round
from bench.scale import STORED
from bench.scale import measure as measure_scale
from bench.scale import render as render_scale
from bench.signed import write_requests
from bench.surroundings import Surroundings, surroundings
from bench.table import create_console, environment, render
from bench.timing import measure
from runtime.settings import SettingsError

#: A repeated body costs the same to accept, so the measurements of accepting send this many again and again.
ACCEPTED_REQUESTS = 2_000

#: A repeated body costs less to apply, so a measurement that applies gets this many times the requests
#: that the receiver accepted before.
SPARE = 1.3

#: The load of each server before the first measurement, in seconds.
WARM_UP_SECONDS = 1

#: The requests that new workers apply before a measurement begins.
WARM_UP_REQUESTS = 500

#: The duration of (e).
STEADY_SECONDS = 10


class Steps:
    """The progress of a run on standard error: a bar on a terminal, else a line for each step."""

    def __init__(self, total: int) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total)
        self._done = -1
        self._total = total
        self._began = time.monotonic()

    def __enter__(self) -> Steps:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, description: str) -> None:
        """End the previous step and begin a new one."""
        self._done += 1
        self._progress.update(self._task, completed=self._done, description=description)
        if not self._console.is_terminal:
            spent = time.monotonic() - self._began
            self._console.print(f"{spent:4.0f} s  {self._done + 1}/{self._total}  {description}", highlight=False)


class Run:
    """One run with its servers, its fleet and its load generator."""

    def __init__(
        self, ground: Surroundings, generator: Generator, fleet: Fleet, steps: Steps, seconds: int, rate: int
    ) -> None:
        self._ground = ground
        self._generator = generator
        self._fleet = fleet
        self._steps = steps
        self._seconds = seconds
        self._rate = rate
        self._cycled = self._requests("cycled", ACCEPTED_REQUESTS)

    def _requests(self, name: str, count: int) -> Path:
        path = self._ground.folder / f"{name}.requests"
        write_requests(path, self._fleet.bodies(count))
        return path

    def warm_up(self) -> None:
        """Send load to every server, so that it has compiled, connected and planned before the measurements."""
        self._steps.begin("warming up")
        for name in ("baseline", "ours", "one-insert"):
            self._generator.full_speed(self._ground.ports[name], self._cycled, WARM_UP_SECONDS)

    def round(self, number: int) -> Round:
        """Measure (a) to (d) and (f) once."""

        def accept(label: str, name: str) -> Figures:
            self._steps.begin(f"round {number}: {label}")
            self._ground.forget()
            return self._generator.full_speed(self._ground.ports[name], self._cycled, self._seconds)

        baseline = accept("(a) signature only", "baseline")
        ours = accept("(b) ours: accepted", "ours")
        one_insert = accept("(c) one INSERT each", "one-insert")
        self._steps.begin(f"round {number}: (d) ours: accepted and applied")
        distinct = self._requests("distinct", int(ours.per_second * self._seconds * SPARE))
        with self._ground.workers():
            self._warm_up_workers()
            applied = accepted_and_applied(self._ground, self._generator, distinct, self._seconds)
        with self._ground.deriving():
            beside_deriving = accept("(f) ours: accepted, while all is derived", "ours")
        return Round(baseline, ours, one_insert, applied, beside_deriving)

    def steady(self) -> Visible:
        """Measure (e)."""
        self._steps.begin(f"(e) 202 to visible, at {self._rate} a second")
        requests = self._requests("steady", self._rate * STEADY_SECONDS)
        with self._ground.workers():
            self._warm_up_workers()
            # What (d) and (f) left to be derived is no part of this measurement.
            with self._ground.connect() as connection:
                wait_until_derived(connection, self._ground)
            return until_visible(self._ground, self._generator, requests, STEADY_SECONDS, self._rate)

    def _warm_up_workers(self) -> None:
        self._ground.forget()
        requests = self._requests("first", WARM_UP_REQUESTS)
        ledger = self._ground.folder / "first.json"
        self._generator.steady(self._ground.ports["ours"], requests, 1, WARM_UP_REQUESTS, ledger)
        with self._ground.connect() as connection:
            wait_until_settled(connection, self._ground)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    connections: Annotated[int, typer.Option(min=1, help="Connections of the generator, the same for all.")] = 64,
    seconds: Annotated[int, typer.Option(min=1, help="Length of each measurement under full load.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds that measure all but (e).")] = 3,
    generator: Annotated[
        str, typer.Option(help="Load generator: wrk, python, or auto for wrk if it is installed.")
    ] = "auto",
    rate: Annotated[int, typer.Option(min=1, help="Notifications a second of (e).")] = 500,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every measurement to this file.")] = None,
) -> None:
    """Measure accepting and applying, compare them with simpler endpoints, and print one table."""
    if context.invoked_subcommand is not None:
        return
    with tempfile.TemporaryDirectory(prefix="ampeco-bench-") as made, Steps(rounds * 5 + 3) as steps:
        folder = Path(made)
        busy = os.getloadavg()[0]
        steps.begin("starting servers")
        sender = Generator(connections, folder, generator)
        begins_at = began_at()
        with surroundings(folder, begins_at.isoformat()) as ground:
            run = Run(ground, sender, Fleet(begins_at), steps, seconds, rate)
            results = Results(environment(ground, sender.name, connections, seconds, busy))
            run.warm_up()
            results.rounds += [run.round(number) for number in range(1, rounds + 1)]
            results.visible = run.steady()
    console = create_console()
    console.print(render(results, console))
    if json_file is not None:
        json_file.write_text(json.dumps(results.as_json(), indent=2) + "\n")


@app.command()
def timing(
    calls: Annotated[int, typer.Option(min=1_000, help="Verifications of each kind of wrong signature.")] = 300_000,
) -> None:
    """Measure whether the time to reject a wrong signature reveals how much of it was right."""
    print(measure(calls).render())


@app.command()
def disk(
    notifications: Annotated[
        int, typer.Option(min=10_000, help="Number of notifications to load; more give a more precise result.")
    ] = 200_000,
) -> None:
    """Measure the disk space of a million notifications, by table."""
    console = create_console()
    console.print(render_growth(measure_growth(notifications), console))


@app.command()
def costs(
    notifications: Annotated[int, typer.Option(min=1_000, help="Notifications of each round.")] = 6_000,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 3,
) -> None:
    """Measure the processor time of committing and applying a notification; half a minute."""
    print(render_costs(measure_costs(notifications, rounds)))


@app.command()
def few(
    repetitions: Annotated[int, typer.Option(min=3, help="How often each number of notifications is measured.")] = 60,
) -> None:
    """Measure what notifications cost that come a few at a time: statements and processor time; a minute."""
    console = create_console()
    console.print(render_few(measure_few(repetitions), console))


@app.command()
def scale(
    stored: Annotated[
        list[int] | None,
        typer.Option(min=1_000, help="Notifications that are stored when it measures; may be given several times."),
    ] = None,
) -> None:
    """Measure what a notification costs by the number of those stored, up to 10 million; half an hour, 25 GB."""
    console = create_console()
    console.print(render_scale(measure_scale(stored or STORED), console))


@app.command()
def memory(
    minutes: Annotated[int, typer.Option(min=COLUMNS, help="Minutes under load.")] = 60,
    rate: Annotated[int, typer.Option(min=1, help="Notifications a second.")] = 200,
) -> None:
    """Measure the memory of every process under a steady load; an hour."""
    console = create_console()
    console.print(render_memory(measure_memory(minutes, rate), rate, console))


@app.command()
def analytics(
    share: Annotated[
        list[float] | None, typer.Option(min=0.001, max=1, help="Share of the whole; may be given several times.")
    ] = None,
) -> None:
    """Measure how deriving and reading the tables for analysts grow with the history; about half an hour."""
    console = create_console()
    console.print(render_analytics(measure_analytics(share or [0.01, 0.03, 0.1]), console))


@app.command("console")
def measure_console(
    notifications: Annotated[
        int, typer.Option(min=1_000, help="Notifications in the log.")
    ] = console_bench.NOTIFICATIONS,
    evses: Annotated[int, typer.Option(min=20, help="EVSEs, each with two months of charging.")] = EVSES,
) -> None:
    """Measure how long the pages of the console take at the size of a large operator; some minutes."""
    console = create_console()
    console.print(console_bench.render(console_bench.measure(notifications, evses), console))


if __name__ == "__main__":
    leave_in_order()
    try:
        app()
    except (BenchError, SettingsError) as problem:
        sys.exit(f"bench: {problem}")
