"""Sync runs: read the tenant's listings page by page, compare them with the stored entities, and heal the differences.

Backfill and reconcile are both sync runs, through everything or through what changed. This module reads the pages, and
pauses, postpones or ends a sync run if one cannot be read; ``page_writer`` compares and stores each page. Which sync
runs are due is determined in ``schedule``, and ``due_runs`` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import NoReturn

from pydantic.alias_generators import to_camel

from ampeco.api.client import Client
from ampeco.api.listing import Params
from ampeco.errors import ApiError, Forbidden, Invalid, NotFound, NotOffered, RateLimited, Unauthorized, Unavailable
from ampeco.resources.kinds import KINDS
from runtime.leases import renewed
from runtime.logging import get_logger
from storage.sync import inaccessible_kinds, refresh_queue, sync_runs
from storage.sync.api_usage import CallReason
from storage.sync.sync_runs import SyncRun
from workers.api.backoff import is_of_one, note_inaccessible, pause_tenant
from workers.api.context import Context
from workers.api.pause import recovered
from workers.api.rate_limit import CallDeferredError
from workers.sync.page_writer import PageWriter, run_labels
from workers.sync.reads import listing_filters

logger = get_logger(__name__)

#: Delay before a listing is retried that the token may not read, or that cannot be read.
REFUSED_DELAY = timedelta(hours=1)

#: Delay before a listing is retried that failed at AMPECO's side: as long as it has made no progress, so that a passing
#: failure costs seconds and one that lasts few calls; at least the first and at most the second.
FIRST_FAILED_DELAY = timedelta(seconds=10)
FAILED_DELAY = timedelta(minutes=5)

#: Most pages of a listing, enough for ten million entities.
MAX_PAGES = 100_000


class TokenRefusedError(CallDeferredError):
    """The tenant rejects the token: none of its listings can be read until a person replaces the token."""


class KindNotOfferedError(CallDeferredError):
    """The tenant does not offer the kind, so that there is nothing to read."""


def _refuse_to_wait(seconds: float, why: str) -> None:
    raise CallDeferredError(seconds, why)


def sync_pages(
    context: Context,
    run: SyncRun,
    *,
    reason: CallReason,
    wait: Callable[[float, str], None] = _refuse_to_wait,
    heeds_inaccessible: bool = True,
) -> Iterator[SyncRun]:
    """Continue a sync run, yielding it after each page, until it is finished or another process has continued it.

    If the caller stops early, the sync run keeps its progress.

    Parameters:
        reason: the reason that its calls count for.
        wait: called with seconds and a reason when the tenant is paused. It returns when the pause is over, and the
            sync run continues; or it raises a :class:`CallDeferredError`, and the sync run is postponed.
        heeds_inaccessible: do not read an inaccessible kind before its next trial.

    Raises:
        CallDeferredError: the listing is forbidden or failed, or the tenant is paused.
    """
    runner = _SyncRunner(context, run, reason, wait, heeds_inaccessible)
    with renewed(runner.renew_lease):
        try:
            while not run.finished:
                if not runner.sync_page():
                    logger.info("sync run continued by another process", **run_labels(run))
                    return
                yield run
            logger.info("sync run finished", **run_labels(run), absent=runner.absent)
        finally:
            runner.close()


class _SyncRunner:
    """The part of a sync run that one process makes: it reads page after page, and decides what an error means."""

    def __init__(
        self,
        context: Context,
        run: SyncRun,
        reason: CallReason,
        wait: Callable[[float, str], None],
        heeds_inaccessible: bool,
    ) -> None:
        self._context = context
        self._run = run
        self._wait = wait
        self._heeds_inaccessible = heeds_inaccessible
        self._counted = context.counted_client(run.tenant, reason)
        self._kind = KINDS[run.kind]
        self._writer = PageWriter(context, run, self._counted)
        self._is_released = False
        #: Whether an inaccessible kind is being tried, and no answer has shown yet whether it can be read.
        self._is_trial = False
        #: The queries of the pages that this process read.
        self._queries: set[frozenset[tuple[str, str]]] = set()

    @property
    def _client(self) -> Client:
        return self._counted.client

    @property
    def absent(self) -> int:
        """The number of stored entities that a complete listing did not show."""
        return self._writer.absent

    def close(self) -> None:
        """Close the client, and release a sync run that is not finished."""
        self._client.close()
        if self._is_trial:
            with self._context.engine.begin() as connection:
                inaccessible_kinds.give_trial_back(connection, self._run.tenant, self._run.kind)
        if not self._run.finished and not self._is_released:
            self._release(None, None)

    def renew_lease(self) -> None:
        """Extend the lease of the sync run."""
        with self._context.engine.begin() as connection:
            sync_runs.renew(connection, self._run)

    def sync_page(self) -> bool:
        """Read and write one page; return False if another process has continued the sync run."""
        run = self._run
        if self._heeds_inaccessible:
            self._require_permission()
        query = run.following or self._first_query()
        calls = self._counted.calls
        while True:
            with self._context.engine.begin() as connection:
                pending = refresh_queue.pending(connection, run.tenant, run.kind)
            try:
                page = self._client.page(self._kind, query)
                page = replace(page, following=page.following or self._query_of_next_filter(query))
                self._require_progress(query, page.following)
                written = self._writer.write(page, pending, calls_before=calls)
            except CallDeferredError as deferred:
                self._release(timedelta(seconds=deferred.seconds), deferred.why)
                raise
            except (RateLimited, Unauthorized, Unavailable) as error:
                if is_of_one(error):
                    self._stop(error, self._failed_delay())
                self._pause(error)
            except (Invalid, NotFound, NotOffered) as error:
                if run.following is not None:
                    self._start_over(error)
                if isinstance(error, Invalid):
                    self._stop(error, REFUSED_DELAY)
                self._leave_kind(error)
            except Forbidden as error:
                self._leave_kind(error)
            except (ApiError, ValueError) as error:
                self._stop(error, REFUSED_DELAY)
            else:
                self._is_trial = False
                if written.stopped_by is None:
                    recovered(self._context.redis, run.tenant)
                elif written.moved:
                    self._pause(written.stopped_by)  # the page is stored, so it is not read again
                return written.moved

    def _failed_delay(self) -> timedelta:
        with self._context.engine.begin() as connection:
            idle = sync_runs.time_without_progress(connection, self._run)
        return min(max(idle, FIRST_FAILED_DELAY), FAILED_DELAY)

    def _leave_kind(self, error: Forbidden | NotFound | NotOffered) -> NoReturn:
        """Postpone a sync run whose kind cannot be read; reads of the kind wait, too."""
        self._is_trial = False
        note_inaccessible(self._context, self._run.tenant, self._run.kind, error)
        self._release(REFUSED_DELAY, str(error))
        failure = CallDeferredError if isinstance(error, Forbidden) else KindNotOfferedError
        raise failure(REFUSED_DELAY.total_seconds(), str(error), is_final=True) from None

    def _start_over(self, error: ApiError) -> NoReturn:
        """Let a sync run begin again at the first page: a page after the first is refused if its cursor has expired."""
        with self._context.engine.begin() as connection:
            sync_runs.start_over(connection, self._run)
        self._run.following = None
        self._stop(error, FAILED_DELAY)

    def _pause(self, error: RateLimited | Unauthorized | Unavailable) -> None:
        """Pause the tenant for all processes; return when the pause is over, or at once if the sync run is finished.

        Raises:
            CallDeferredError: the caller does not wait that long, or waiting does not help; the sync run is postponed.
        """
        seconds = pause_tenant(self._context, self._run.tenant, error)
        if self._run.finished:
            return
        try:
            if isinstance(error, Unauthorized):
                raise TokenRefusedError(seconds, str(error), is_final=True)
            self._wait(seconds, str(error))
        except CallDeferredError:
            self._release(timedelta(seconds=seconds), str(error))
            raise

    def _require_progress(self, query: Params, following: Params | None) -> None:
        """Fail if the listing loops or exceeds ``MAX_PAGES``.

        Raises:
            ValueError: it leads back to a page that was read already, or has more pages than any fleet.
        """
        self._queries.add(frozenset(query))
        if following is not None and frozenset(following) in self._queries:
            raise ValueError("the listing leads back to a page that was read already")
        if self._run.pages >= MAX_PAGES:
            raise ValueError(f"the listing has no end: {self._run.pages:,} pages were read")

    def _stop(self, error: Exception, delay: timedelta) -> NoReturn:
        """Postpone a sync run whose listing cannot be read now; other kinds of the tenant are not affected."""
        self._is_trial = False
        logger.warning("sync run stopped", **run_labels(self._run), error=str(error))
        self._release(delay, str(error))
        raise CallDeferredError(delay.total_seconds(), str(error), is_final=True) from None

    def _require_permission(self) -> None:
        """Postpone a sync run of an inaccessible kind, whether a sync run or a read found that it is inaccessible.

        Raises:
            CallDeferredError: the next trial is not due yet.
        """
        with self._context.engine.begin() as connection:
            permission = inaccessible_kinds.permission_to_read(connection, self._run.tenant, self._run.kind)
        self._is_trial = permission == "trial"
        if permission == "refused":
            why = f"the kind {self._run.kind} cannot be read; `status` shows why"
            self._release(REFUSED_DELAY, why)
            raise CallDeferredError(REFUSED_DELAY.total_seconds(), why, is_final=True)

    def _first_query(self) -> list[tuple[str, str]]:
        since, names = self._run.changed_since, self._kind.changed_filters
        return self._filtered_query(names[0] if since is not None and names else None)

    def _query_of_next_filter(self, query: Params) -> list[tuple[str, str]] | None:
        """Return the query that follows the last page of a filter of several; None after the last filter."""
        if self._run.changed_since is None:
            return None
        used = {name for name, _ in query}
        filters = self._kind.changed_filters
        for name, following in pairwise(filters):
            if f"filter[{to_camel(name)}]" in used:
                return self._filtered_query(following)
        return None

    def _filtered_query(self, name: str | None) -> list[tuple[str, str]]:
        filters = listing_filters(self._kind, self._context.tenants[self._run.tenant])
        if name is not None:
            filters[name] = self._run.changed_since
        return self._client.first_query(self._kind, **filters)

    def _release(self, delay: timedelta | None, error: str | None) -> None:
        self._is_released = True
        with self._context.engine.begin() as connection:
            sync_runs.leave(connection, self._run, delay=delay, error=error)
