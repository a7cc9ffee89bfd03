"""The commands that compare the tenant with the database: ``backfill``, ``reconcile`` and ``completeness``."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sqlalchemy import Engine

from receiver.completeness_tables import call_quota_table, completeness_table, headline, trouble_lines
from receiver.invocation import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.terminal import age, console, errors
from receiver.times import time_option
from storage import backfills, sync_runs
from storage.completeness import completeness as completeness_of
from storage.sync_runs import Purpose, SyncRun
from storage.usage import spent
from workers.context import Context, create_context
from workers.logs import get_logger
from workers.rate_limit import CallDeferredError
from workers.reconcile import TokenRefusedError, steps
from workers.settings import Settings
from workers.sync_schedule import listed, since

logger = get_logger(__name__)

#: How often a sync run that another process has in hand is looked at again.
HELD_INTERVAL_SECONDS = 2.0

SINCE = time_option("--since", "Only what changed at this time or later; left out, everything")

AGAIN = typer.Option("--again", help="Read again what an earlier backfill has read, in place of continuing it.")


def backfill(
    changed_since: Annotated[datetime | None, SINCE] = None,
    again: Annotated[bool, AGAIN] = False,
    tenant: TenantOption = None,
) -> None:
    """Read everything that AMPECO has, or what changed since a time. Run it again to continue where it stopped."""

    def request(engine: Engine, name: str) -> datetime:
        with engine.begin() as connection:
            return backfills.request(connection, name, changed_since, again=again)

    with running("backfill") as settings:
        _sync_all(settings, tenant, "backfill", lambda *_: changed_since, request)


def reconcile(
    tenant: TenantOption = None,
    full: Annotated[
        bool, typer.Option("--full", help="Compare everything, which also notices what was deleted.")
    ] = False,
) -> None:
    """Compare now what changed since the last time, and heal the differences."""

    def changed_since(engine: Engine, name: str, kind: str) -> datetime | None:
        with engine.begin() as connection:
            cursor = sync_runs.cursors(connection, [name]).get((name, kind))
        return None if full else since(kind, cursor)

    with running("reconcile") as settings:
        _sync_all(settings, tenant, "reconcile", changed_since, lambda *_: None)


def completeness(
    tenant: TenantOption = None,
    days: Annotated[float, typer.Option(min=0.01, help="How far back to look.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show how complete the database is: what AMPECO never told, how far behind we were, what was healed."""
    during = timedelta(days=days)
    with running("completeness") as settings, database(settings) as engine:
        require_migrated(settings)
        names = chosen_tenants(settings, tenant)
        with engine.connect() as connection:
            rows = completeness_of(connection, names, during)
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
        console.print(completeness_table(rows))
    for line in trouble_lines(rows):
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    console.print(call_quota_table(calls))


class _Shown:
    """Tells how far a sync run is: a bar on a terminal, log lines elsewhere."""

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

    def advance(self, run: SyncRun) -> None:
        rate = run.stats.compared / max(time.monotonic() - self._began, 0.001)
        self._progress.update(self._task, completed=run.stats.compared, rate=f"{rate:,.0f}/s", note="")
        if self._progress.disable:
            logger.info(
                "page read",
                tenant=run.tenant,
                kind=run.kind,
                pages=run.pages,
                compared=run.stats.compared,
                missing=run.stats.missing,
                stale=run.stats.stale,
                per_second=round(rate, 1),
            )

    def end(self, run: SyncRun) -> None:
        self._progress.update(self._task, total=run.stats.compared, completed=run.stats.compared, note="")

    def give_up(self, why: str) -> None:
        self._progress.update(self._task, note=f"not read: {why}")

    def wait(self, seconds: float, why: str) -> None:
        self._progress.update(self._task, note=f"waits {age(seconds)}: {why}")
        if self._progress.disable:
            logger.warning("sync run waits", seconds=round(seconds, 1), why=why)
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class _Task:
    """One listing that a command is to run through; ``requested_at`` is None where no request spans several runs."""

    tenant: str
    kind: str
    purpose: Purpose
    changed_since: datetime | None
    requested_at: datetime | None

    def is_done_by(self, run: SyncRun) -> bool:
        """Whether a sync run that ended is this task's, and not one that another command or a worker had left."""
        if self.requested_at is not None:
            return run.finished and run.requested_at == self.requested_at
        return run.finished and (run.purpose, run.changed_since) == (self.purpose, self.changed_since)


def _sync_all(
    settings: Settings,
    only: str | None,
    purpose: Purpose,
    changed_since: Callable[[Engine, str, str], datetime | None],
    request: Callable[[Engine, str], datetime | None],
) -> None:
    """SyncRun the listings of every kind of the chosen tenants, and end with what could not be read, and why.

    Parameters:
        changed_since: what to ask a listing for, by engine, tenant and kind.
        request: when what is to be read of a tenant was requested; what was read for it is not read again.
    """
    require_migrated(settings)
    left: list[str] = []
    with create_context(settings, process=purpose, max_wait_seconds=math.inf) as context, _Shown() as shown:
        for name in chosen_tenants(settings, only):
            requested_at = request(context.engine, name)
            read_before = 0
            for kind in listed():
                since = changed_since(context.engine, name, kind)
                try:
                    read_before += not _run(context, _Task(name, kind, purpose, since, requested_at), shown)
                except TokenRefusedError as refused:
                    shown.give_up(refused.why)
                    left.append(f"{name} from {kind} on ({refused.why})")
                    break
                except CallDeferredError as held:
                    shown.give_up(held.why)
                    left.append(f"{kind} of {name} ({held.why})")
            if read_before and requested_at is not None:
                errors.print(
                    f"{name}: {read_before} of {len(listed())} kinds were read before, for the backfill requested at"
                    f" {requested_at:%Y-%m-%d %H:%M} UTC; with --again they are read again.",
                    highlight=False,
                    soft_wrap=True,
                )
    if left:
        unread = f"Done, but not read to the end: {'; '.join(left)}. Run the command again to read what is left."
        console.print(unread, style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1)
    console.print("Done. `ampeco-receiver completeness` tells what was found.")


def _run(context: Context, task: _Task, shown: _Shown) -> bool:
    """Run through one listing, first to the end of a sync run that was left; return False if that was done before.

    Raises:
        CallDeferredError: AMPECO refused the listing, or failed it.
    """
    if _is_done(context, task):
        return False
    total = _estimate(context, task.tenant, task.kind) if task.changed_since is None else None
    shown.begin(f"{task.tenant}: {task.kind}", total)
    while True:
        with context.engine.begin() as connection:
            run = sync_runs.begin(
                connection,
                task.tenant,
                task.kind,
                task.purpose,
                task.changed_since,
                requested_at=task.requested_at,
                at_once=True,
            )
        if run is None:
            shown.wait(HELD_INTERVAL_SECONDS, "another process reads it, or was killed a moment ago")
        else:
            # A person waits, and may have just given the permission: a kind that was refused is asked for once.
            for _ in steps(context, run, reason=task.purpose, wait=shown.wait, heeds_forbidden=False):
                shown.advance(run)
            if task.is_done_by(run):
                shown.end(run)
                return True
        if _is_done(context, task):  # by the process that had it in hand
            return True


def _is_done(context: Context, task: _Task) -> bool:
    """Whether the sync run of the task's request came to its end, in whichever process."""
    if task.requested_at is None:
        return False
    with context.engine.connect() as connection:
        return backfills.is_finished(connection, task.tenant, task.kind, task.requested_at)


def _estimate(context: Context, tenant: str, kind: str) -> int | None:
    """How many there are, as far as we know; None where we know of none."""
    with context.engine.connect() as connection:
        return sync_runs.stored(connection, tenant, kind) or None
