"""The commands that compare the database with AMPECO: ``backfill``, ``reconcile`` and ``completeness``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Annotated

import typer
from sqlalchemy import Engine

from receiver.commands.completeness_tables import call_quota_table, completeness_table, headline, trouble_lines
from receiver.commands.json_output import JsonOption, print_json
from receiver.commands.progress import Piece, WorkProgress
from receiver.commands.times import require_past, time_option
from receiver.environment import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.terminal import age, console, errors
from runtime.settings import Settings
from storage.sync import backfills, sync_runs
from storage.sync.api_usage import spent
from storage.sync.completeness import completeness as completeness_of
from storage.sync.sync_runs import Purpose, SyncRun
from workers.api.context import Context, create_context
from workers.api.rate_limit import CallDeferredError
from workers.sync.reconcile import KindNotOfferedError, TokenRefusedError, sync_pages
from workers.sync.schedule import listed, since

#: How often a sync run of another process is checked.
HELD_INTERVAL_SECONDS = 2.0

#: A century, which is longer than anything was stored.
MAX_DAYS = 36_525.0

SINCE = time_option("--since", "Only what changed at this time or later; by default, everything")

AGAIN = typer.Option("--again", help="Read everything again instead of continuing an earlier backfill.")


def backfill(
    changed_since: Annotated[datetime | None, SINCE] = None,
    again: Annotated[bool, AGAIN] = False,
    tenant: TenantOption = None,
) -> None:
    """Read everything from AMPECO, or what changed since a time. Run it again to continue where it stopped."""
    require_past(changed_since, "--since")

    def request(engine: Engine, name: str) -> datetime:
        with engine.begin() as connection:
            return backfills.request(connection, name, changed_since, again=again)

    with running("backfill") as settings:
        _sync_all(settings, tenant, "backfill", lambda *_: changed_since, request)


def reconcile(
    tenant: TenantOption = None,
    full: Annotated[
        bool, typer.Option("--full", help="Compare everything, which also finds deleted entities.")
    ] = False,
) -> None:
    """Compare what changed at AMPECO since the last sync run with what is stored, and heal the differences."""

    def changed_since(engine: Engine, name: str, kind: str) -> datetime | None:
        with engine.begin() as connection:
            cursor = sync_runs.cursors(connection, [name]).get((name, kind))
        return None if full else since(kind, cursor)

    with running("reconcile") as settings:
        _sync_all(settings, tenant, "reconcile", changed_since, lambda *_: None)


def completeness(
    tenant: TenantOption = None,
    days: Annotated[float, typer.Option(min=0.01, max=MAX_DAYS, help="Length of the period before now, days.")] = 7,
    as_json: JsonOption = False,
) -> None:
    """Show how complete the database is: entities that were missing or stale, how late they were, what was healed."""
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
        print_json(document)
        return
    for name in names:
        console.print(headline(name, [row for row in rows if row.tenant == name], during))
    if rows:
        console.print(completeness_table(rows))
    for line in trouble_lines(rows):
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    console.print(call_quota_table(calls))


@dataclass(frozen=True, slots=True)
class _Task:
    """One listing for which a command makes a sync run.

    Attributes:
        tenant, kind: the listing.
        purpose: backfill or reconcile.
        changed_since: compare only what changed since then; None for the full listing.
        requested_at: when the backfill was requested that several commands may continue; None if there is none.
    """

    tenant: str
    kind: str
    purpose: Purpose
    changed_since: datetime | None
    requested_at: datetime | None

    def is_done_by(self, run: SyncRun) -> bool:
        """Return whether a sync run finished this task, and is not one that another command or a worker had begun."""
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
    """Make a sync run of every kind of the chosen tenants, and print which kinds could not be read, and why.

    Parameters:
        only: the name of the only tenant; None for every tenant.
        changed_since: returns since when changes are compared, by engine, tenant and kind.
        request: returns when the backfill of a tenant was requested; kinds that were read for it are not read again.

    Raises:
        typer.Exit: some kinds could not be read.
    """
    require_migrated(settings)
    unread: list[str] = []
    not_offered: list[str] = []
    with (
        create_context(settings, process=purpose, max_wait_seconds=math.inf) as context,
        WorkProgress("compared") as progress,
    ):
        for name in chosen_tenants(settings, only):
            requested_at = request(context.engine, name)
            read_before = 0
            kinds = listed(context.tenants[name])
            for kind in kinds:
                since = changed_since(context.engine, name, kind)
                try:
                    read_before += not _run(context, _Task(name, kind, purpose, since, requested_at), progress)
                except TokenRefusedError as refused:
                    unread.append(f"{name} from {kind} on ({refused.why})")
                    break
                except KindNotOfferedError:
                    not_offered.append(f"{kind} of {name}")
                except CallDeferredError as deferred:
                    unread.append(f"{kind} of {name} ({deferred.why})")
            if read_before and requested_at is not None:
                errors.print(
                    f"{name}: {read_before} of {len(kinds)} kinds were read before, for the backfill requested at"
                    f" {requested_at:%Y-%m-%d %H:%M} UTC; with --again they are read again.",
                    highlight=False,
                    soft_wrap=True,
                )
    if not_offered:
        errors.print(f"Not offered by AMPECO: {', '.join(not_offered)}.", highlight=False, soft_wrap=True)
    if unread:
        line = f"Done, but not read to the end: {'; '.join(unread)}. Run the command again to read the rest."
        errors.print(line, style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(1)
    console.print("Done. `ampeco-receiver completeness` shows the result.")


def _run(context: Context, task: _Task, progress: WorkProgress) -> bool:
    """Make one sync run, after finishing one that was left before; return False if the task was done before.

    Raises:
        CallDeferredError: the listing is forbidden or failed, or the token was rejected.
    """
    if _is_done(context, task):
        return False
    total = _estimate(context, task.tenant, task.kind) if task.changed_since is None else None
    piece = progress.begin(total, tenant=task.tenant, kind=task.kind)
    try:
        _run_to_end(context, task, piece)
    except CallDeferredError as deferred:
        piece.note(f"not read: {deferred.why}")
        raise
    return True


def _run_to_end(context: Context, task: _Task, piece: Piece) -> None:
    def wait(seconds: float, why: str) -> None:
        piece.note(f"waits {age(seconds)}: {why}")
        time.sleep(seconds)

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
            wait(HELD_INTERVAL_SECONDS, "another process reads it, or was killed a moment ago")
        else:
            # A forbidden kind is tried, because the operator may have just granted the permission.
            for _ in sync_pages(context, run, reason=task.purpose, wait=wait, heeds_inaccessible=False):
                stats = run.stats
                piece.advance(stats.compared, pages=run.pages, missing=stats.missing, stale=stats.stale)
            if task.is_done_by(run):
                piece.end()
                return
        if _is_done(context, task):  # by another process
            return


def _is_done(context: Context, task: _Task) -> bool:
    """Return whether any process finished the sync run of the task's request."""
    if task.requested_at is None:
        return False
    with context.engine.connect() as connection:
        return backfills.is_finished(connection, task.tenant, task.kind, task.requested_at)


def _estimate(context: Context, tenant: str, kind: str) -> int | None:
    """Return the number of stored entities as an estimate of a listing's length; None if there are none."""
    with context.engine.connect() as connection:
        return sync_runs.stored(connection, tenant, kind) or None
