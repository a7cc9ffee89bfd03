"""The commands that compare the tenant with the database: ``backfill``, ``reconcile`` and ``truth``."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sqlalchemy import Engine

from receiver.console import age, console, errors
from receiver.invocation import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.truth_tables import budget_table, headline, trouble_lines, truth_table
from storage import walks
from storage.truth import truth as truth_of
from storage.usage import spent
from storage.walks import Purpose, Walk
from workers.budget import HeldBackError
from workers.context import Context, create_context
from workers.logs import get_logger
from workers.settings import Settings
from workers.walk import listed, since, steps

logger = get_logger(__name__)

#: How often a walk that another process has in hand is looked at again.
HELD_INTERVAL_SECONDS = 2.0

SINCE = typer.Option(
    "--since",
    formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"],
    help="Only what changed at this time (UTC) or later; left out, everything.",
)


def backfill(changed_since: Annotated[datetime | None, SINCE] = None, tenant: TenantOption = None) -> None:
    """Read everything that AMPECO has, or what changed since a time. Run it again to go on where it stopped."""
    moment = changed_since and (changed_since if changed_since.tzinfo else changed_since.replace(tzinfo=UTC))
    with running("backfill") as settings:
        _walk_all(settings, tenant, "backfill", lambda *_: moment)


def reconcile(
    tenant: TenantOption = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Compare everything, which also notices what was deleted.")
    ] = False,
) -> None:
    """Compare now what changed since the last time, and heal the differences."""

    def changed_since(engine: Engine, name: str, kind: str) -> datetime | None:
        with engine.begin() as connection:
            cursor = walks.cursors(connection, [name]).get((name, kind))
        return None if whole else since(kind, cursor)

    with running("reconcile") as settings:
        _walk_all(settings, tenant, "reconcile", changed_since)


def truth(
    tenant: TenantOption = None,
    days: Annotated[float, typer.Option(min=0.01, help="How far back to look.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show how complete the database is: what AMPECO never told, how far behind we were, what was healed."""
    during = timedelta(days=days)
    with running("truth") as settings, database(settings) as engine:
        require_migrated(settings)
        names = chosen_tenants(settings, tenant)
        with engine.connect() as connection:
            rows = truth_of(connection, names, during)
            calls = spent(connection, names, during)
    if as_json:
        document = {
            "days": days,
            "kinds": [asdict(row) | {"as_shown": row.as_shown} for row in rows],
            "calls": {
                name: {reason: asdict(counted) for reason, counted in reasons.items()}
                for name, reasons in calls.items()
            },
        }
        console.print_json(json.dumps(document, default=str))
        return
    for name in names:
        console.print(headline(name, [row for row in rows if row.tenant == name], during))
    if rows:
        console.print(truth_table(rows))
    for line in trouble_lines(rows):
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    console.print(budget_table(calls))


class _Shown:
    """Tells how far a walk is: a bar on a terminal, log lines elsewhere."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="yellow"),
            console=errors,
            disable=not errors.is_terminal,
        )
        self._began = time.monotonic()

    def __enter__(self) -> _Shown:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, what: str, total: int | None) -> None:
        self._began = time.monotonic()
        self._task = self._progress.add_task(what, total=total, rate="", note="")

    def advance(self, walk: Walk) -> None:
        rate = walk.found.compared / max(time.monotonic() - self._began, 0.001)
        self._progress.update(self._task, completed=walk.found.compared, rate=f"{rate:,.0f}/s", note="")
        if self._progress.disable:
            logger.info(
                "page read",
                tenant=walk.tenant,
                kind=walk.kind,
                pages=walk.pages,
                compared=walk.found.compared,
                missing=walk.found.missing,
                stale=walk.found.stale,
                per_second=round(rate, 1),
            )

    def end(self, walk: Walk) -> None:
        self._progress.update(self._task, total=walk.found.compared, completed=walk.found.compared, note="")

    def wait(self, seconds: float, why: str) -> None:
        self._progress.update(self._task, note=f"waits {age(seconds)}: {why}")
        if self._progress.disable:
            logger.warning("walk waits", seconds=round(seconds, 1), why=why)
        time.sleep(seconds)


def _walk_all(settings: Settings, only: str | None, purpose: Purpose, changed_since: object) -> None:
    assert callable(changed_since)
    require_migrated(settings)
    refused: list[str] = []
    with create_context(settings, process=purpose, longest_wait_seconds=math.inf) as context, _Shown() as shown:
        for name in chosen_tenants(settings, only):
            for kind in listed():
                since = changed_since(context.engine, name, kind)
                try:
                    for _ in _walks(context, name, kind, purpose, since, shown):
                        pass
                except HeldBackError as held:
                    refused.append(f"{name}: {kind} was not walked: {held.why}")
    for line in refused:
        errors.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"Done, but for {len(refused)} kinds." if refused else "Done. `ampeco-receiver truth` tells what was found."
    )
    if refused:
        raise typer.Exit(1)


def _walks(
    context: Context, tenant: str, kind: str, purpose: Purpose, since: datetime | None, shown: _Shown
) -> Iterator[Walk]:
    """Walk one listing to its end; first to the end of a walk that somebody else left."""
    shown.begin(f"{tenant}: {kind}", _estimate(context, tenant, kind) if since is None else None)
    while True:
        with context.engine.begin() as connection:
            walk = walks.begin(connection, tenant, kind, purpose, since)
        if walk is None:
            shown.wait(HELD_INTERVAL_SECONDS, "another process walks it")
            continue
        try:
            for _ in steps(context, walk, reason=purpose):
                shown.advance(walk)
                yield walk
        except HeldBackError as held:
            if held.is_final:
                raise
            shown.wait(held.seconds, held.why)
            continue
        if walk.finished and (walk.purpose, walk.changed_since) == (purpose, since):
            shown.end(walk)
            return


def _estimate(context: Context, tenant: str, kind: str) -> int | None:
    """How many there are, as far as we know; None where we know of none."""
    with context.engine.connect() as connection:
        return walks.stored(connection, tenant, kind) or None
