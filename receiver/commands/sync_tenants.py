"""Make the sync runs of a command, tenant after tenant: each kind that a tenant has, shown as it advances.

A tenant that makes the command wait is continued after the others, so that one whose API is down delays no other.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import typer
from sqlalchemy import Engine

from receiver.commands.progress import Piece, WorkProgress
from receiver.environment import chosen_tenants, require_migrated
from receiver.terminal import age, console, errors
from runtime.settings import Settings
from storage.sync import backfills, sync_runs
from storage.sync.sync_runs import Purpose, SyncRun
from workers.api.context import Context, create_context
from workers.api.rate_limit import CallDeferredError
from workers.sync.reconcile import KindNotOfferedError, TokenRefusedError, sync_pages
from workers.sync.schedule import listed

#: How often a sync run of another process is checked.
HELD_INTERVAL_SECONDS = 2.0

#: The longest wait for a page of one tenant while other tenants are left to be read: as long as the first pauses of a
#: tenant that fails now and then.
PATIENCE_SECONDS = 30.0


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


@dataclass(slots=True)
class _Share:
    """What a command has to read of one tenant.

    Attributes:
        tasks: the listings that are left; the first is under way.
        total: the number of all of them.
        read_before: how many of them were read before, for the same backfill.
        resumes_at: when to continue after the tenant made the command wait, by the monotonic clock.
    """

    tenant: str
    requested_at: datetime | None
    tasks: deque[_Task]
    total: int
    read_before: int = 0
    resumes_at: float = 0.0


def sync_tenants(
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

    def share_of(context: Context, name: str) -> _Share:
        requested_at = request(context.engine, name)
        kinds = listed(context.tenants[name])
        tasks = [_Task(name, kind, purpose, changed_since(context.engine, name, kind), requested_at) for kind in kinds]
        return _Share(name, requested_at, deque(tasks), len(tasks))

    with create_context(settings, process=purpose) as context, WorkProgress("compared") as progress:
        reading = _Reading(context, progress)
        names, continued = deque(chosen_tenants(settings, only)), deque[_Share]()
        while names or continued:
            share = share_of(context, names.popleft()) if names else continued.popleft()
            time.sleep(max(share.resumes_at - time.monotonic(), 0))
            if not reading.read(share, has_others=bool(names or continued)):
                continued.append(share)
    reading.report()


class _Reading:
    """Reads the shares of tenants, and collects what cannot be read.

    Attributes:
        not_read: the kinds that could not be read, with the reasons.
        not_offered: the kinds that AMPECO does not offer.
    """

    def __init__(self, context: Context, progress: WorkProgress) -> None:
        self._context = context
        self._progress = progress
        self.not_read: list[str] = []
        self.not_offered: list[str] = []

    def read(self, share: _Share, *, has_others: bool) -> bool:
        """Read what is left of a share; return False if the tenant makes the command wait, and other tenants do not."""
        patience = PATIENCE_SECONDS if has_others else math.inf
        self._context.max_wait_seconds = patience
        while share.tasks:
            task = share.tasks[0]
            try:
                share.read_before += not self._run(task, patience)
            except TokenRefusedError as refused:
                self.not_read.append(f"{task.tenant} from {task.kind} on ({refused.why})")
                break
            except KindNotOfferedError:
                self.not_offered.append(f"{task.kind} of {task.tenant}")
            except CallDeferredError as deferred:
                if not deferred.is_final:
                    share.resumes_at = time.monotonic() + deferred.seconds
                    return False
                self.not_read.append(f"{task.kind} of {task.tenant} ({deferred.why})")
            share.tasks.popleft()
        if share.read_before and share.requested_at is not None:
            errors.print(
                f"{share.tenant}: {share.read_before} of {share.total} kinds were read before, for the backfill"
                f" requested at {share.requested_at:%Y-%m-%d %H:%M} UTC; with --again they are read again.",
                highlight=False,
                soft_wrap=True,
            )
        return True

    def report(self) -> None:
        """Print what could not be read.

        Raises:
            typer.Exit: some kinds could not be read.
        """
        if self.not_offered:
            errors.print(f"Not offered by AMPECO: {', '.join(self.not_offered)}.", highlight=False, soft_wrap=True)
        if self.not_read:
            not_read = "; ".join(self.not_read)
            line = f"Done, but not read to the end: {not_read}. Run the command again to read the rest."
            errors.print(line, style="red", highlight=False, soft_wrap=True)
            raise typer.Exit(1)
        console.print("Done. `ampeco-receiver completeness` shows the result.")

    def _run(self, task: _Task, patience: float) -> bool:
        """Make one sync run, after finishing one that was left before; return False if the task was done before.

        Raises:
            CallDeferredError: the listing is forbidden or failed, or the token was rejected; if it is not final, the
                tenant makes the command wait for longer than ``patience``.
        """
        if self._is_done(task):
            return False
        piece = self._progress.begin(self._estimate(task), tenant=task.tenant, kind=task.kind)
        try:
            self._run_to_end(task, piece, patience)
        except CallDeferredError as deferred:
            if deferred.is_final:
                piece.note(f"not read: {deferred.why}")
            else:
                piece.leave(f"waits {age(deferred.seconds)}, and other tenants come first: {deferred.why}")
            raise
        return True

    def _run_to_end(self, task: _Task, piece: Piece, patience: float) -> None:
        waited = 0.0

        def wait(seconds: float, why: str) -> None:
            nonlocal waited
            waited += seconds
            if waited > patience:
                raise CallDeferredError(seconds, why)
            piece.note(f"waits {age(seconds)}: {why}")
            time.sleep(seconds)

        while True:
            with self._context.engine.begin() as connection:
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
                for _ in sync_pages(self._context, run, reason=task.purpose, wait=wait, heeds_inaccessible=False):
                    stats = run.stats
                    piece.advance(stats.compared, pages=run.pages, missing=stats.missing, stale=stats.stale)
                    waited = 0.0
                if task.is_done_by(run):
                    piece.end()
                    return
            if self._is_done(task):  # by another process
                return

    def _is_done(self, task: _Task) -> bool:
        """Return whether any process finished the sync run of the task's request."""
        if task.requested_at is None:
            return False
        with self._context.engine.connect() as connection:
            return backfills.is_finished(connection, task.tenant, task.kind, task.requested_at)

    def _estimate(self, task: _Task) -> int | None:
        """Return the number of stored entities as an estimate of a full listing's length; None if it is not known."""
        if task.changed_since is not None:
            return None
        with self._context.engine.connect() as connection:
            return sync_runs.stored(connection, task.tenant, task.kind) or None
