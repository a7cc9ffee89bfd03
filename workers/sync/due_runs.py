"""Make the sync runs of a tenant that are due, within the time that one message may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from storage.sync import sync_runs
from storage.sync.sync_runs import SyncRun
from workers.api.context import Context
from workers.api.rate_limit import CallDeferredError
from workers.sync.reconcile import sync_pages
from workers.sync.schedule import Part, due_sync_runs

#: How long one message works on sync runs; the next message continues.
TIME_BUDGET_SECONDS = 45.0

#: Sync runs wait for more urgent ones up to this time in one message, so that they advance even if some always are due.
PATIENCE_SECONDS = TIME_BUDGET_SECONDS / 2

#: How often it is asked whether more urgent sync runs are over.
PATIENCE_STEP_SECONDS = 0.2

#: A sync run waits for a pause that is this short, because it is over sooner than the next process is woken.
SHORT_PAUSE_SECONDS = 5.0


def run_due(
    context: Context,
    tenant: str,
    interval: timedelta,
    part: Part | None = None,
    *,
    has_urgent: Callable[[], bool] = lambda: False,
) -> int:
    """Make the sync runs of one tenant that are due, until the time budget is spent.

    Parameters:
        interval: how often what changed is reconciled.
        part: make the sync runs of this part only; None: of both.
        has_urgent: returns whether more urgent sync runs of the tenant are at work: they get the calls first.

    Returns:
        The number of pages that were read.
    """
    deadline = time.monotonic() + TIME_BUDGET_SECONDS
    pages = 0

    def wait(seconds: float, why: str) -> None:
        if seconds > SHORT_PAUSE_SECONDS or time.monotonic() + seconds >= deadline:
            raise CallDeferredError(seconds, why)
        time.sleep(seconds)

    patience = PATIENCE_SECONDS

    def let_urgent_go_first() -> None:
        nonlocal patience
        while patience > 0 and has_urgent():
            time.sleep(PATIENCE_STEP_SECONDS)
            patience -= PATIENCE_STEP_SECONDS

    let_urgent_go_first()
    for run in _begin_due(context, tenant, interval, part, deadline):
        try:
            for _ in sync_pages(context, run, reason=run.purpose, wait=wait):
                pages += 1
                let_urgent_go_first()
                if time.monotonic() >= deadline:
                    break
        except CallDeferredError as deferred:
            if not deferred.is_final:
                break
    return pages


def _begin_due(
    context: Context, tenant: str, interval: timedelta, part: Part | None, deadline: float
) -> Iterator[SyncRun]:
    """Begin the sync runs that are due one after the other, each kind once, until the deadline."""
    tried: set[str] = set()
    while time.monotonic() < deadline:
        # Determined before each sync run, because another process may have made one that was due when this one began.
        all_due = due_sync_runs(context, interval, [tenant])
        candidates = (each for each in all_due if part in (None, each.part) and each.kind not in tried)
        due = next(candidates, None)
        if due is None:
            return
        tried.add(due.kind)
        with context.engine.begin() as connection:
            run = sync_runs.begin(connection, tenant, due.kind, due.purpose, due.changed_since)
        if run is not None:
            yield run
