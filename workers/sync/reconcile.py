"""Sync runs: compare the tenant's listings with the stored entities, page by page, and heal the differences.

Backfill and reconcile are both sync runs, through everything or through what changed. Each page is one transaction
with the progress of the sync run, so a sync run that was killed continues after its last page. It may run beside live
traffic, because older facts never replace newer ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NoReturn

from pydantic.alias_generators import to_camel
from sqlalchemy import Connection

from ampeco.api.client import Client, Filter
from ampeco.api.listing import Page, Params
from ampeco.errors import ApiError, Forbidden, Invalid, NotFound, NotOffered, RateLimited, Unauthorized, Unavailable
from ampeco.resources.kinds import KINDS
from runtime.leases import renewed
from runtime.logging import get_logger
from storage.erasure.suppression import remove_suppressed_from_changes
from storage.inbox.batches import oldest_pending_received_at
from storage.state.changes import ChangeSet
from storage.state.children import orphans
from storage.state.facts import presence
from storage.state.stored import StoredEntity, load_stored
from storage.state.unknown_fields import record_unknown_fields
from storage.sync import inaccessible_kinds, refresh_queue, sync_runs
from storage.sync.absent_entities import find_absent, note_listed, request_absent
from storage.sync.api_usage import CallReason
from storage.sync.sync_runs import SyncRun, SyncRunStats
from storage.write import write_changes
from workers.api.backoff import is_of_one, note_inaccessible, pause_tenant
from workers.api.context import Context
from workers.api.pause import recovered
from workers.api.rate_limit import CallDeferredError
from workers.metrics import RECONCILED
from workers.sync.differences import find_difference
from workers.sync.reads import EntityRead, changes_from_answer, listing_filters
from workers.sync.statuses import LogReads

logger = get_logger(__name__)

#: Changes younger than this may still arrive as notifications: they are healed, but do not count as missing or stale.
GRACE = timedelta(minutes=2)

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
                    logger.info("sync run continued by another process", **_labels(run))
                    return
                yield run
            logger.info("sync run finished", **_labels(run), absent=runner.absent)
        finally:
            runner.close()


@dataclass(slots=True)
class _PageChanges:
    """A page that is about to be written.

    Attributes:
        ids: the ids of the entities that it lists.
        stored: the stored entities by id.
        under_way: the ids of the entities whose read is requested already.
        oldest_pending_received_at: when the oldest notification was received that is not applied yet; None if there is
            none.
        answers: the id and the change set of each entity that could be interpreted.
        changes: all of these changes, and the reads that are requested.
        stats: the counts of this page.
        logs: the reads of status logs for this page.
        saved: how often the reads had been requested that this page made unnecessary.
    """

    ids: list[int]
    stored: dict[int, StoredEntity]
    under_way: set[int]
    oldest_pending_received_at: datetime | None
    answers: list[tuple[int, ChangeSet]] = field(default_factory=list)
    changes: ChangeSet = field(default_factory=ChangeSet)
    stats: SyncRunStats = field(default_factory=SyncRunStats)
    logs: LogReads = field(default_factory=lambda: LogReads(are_optional=True))
    saved: int = 0


class _SyncRunner:
    """The part of a sync run that one process makes."""

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
        self._is_released = False
        #: The refresh requests of the kind before the page was read, with their generations.
        self._pending: dict[tuple[int, str], int] = {}
        #: The queries of the pages that this process read.
        self._queries: set[frozenset[tuple[str, str]]] = set()
        self.absent = 0

    @property
    def _client(self) -> Client:
        return self._counted.client

    def close(self) -> None:
        """Close the client, and release a sync run that is not finished."""
        self._client.close()
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
                self._pending = refresh_queue.pending(connection, run.tenant, run.kind)
            try:
                page = self._client.page(self._kind, query)
                page = replace(page, following=page.following or self._query_of_next_filter(query))
                self._require_progress(query, page.following)
                moved, stopped_by = self._write(page, calls)
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
                if stopped_by is None:
                    recovered(self._context.redis, run.tenant)
                elif moved:
                    self._pause(stopped_by)  # the page is stored, so it is not read again
                return moved

    def _failed_delay(self) -> timedelta:
        with self._context.engine.begin() as connection:
            idle = sync_runs.time_without_progress(connection, self._run)
        return min(max(idle, FIRST_FAILED_DELAY), FAILED_DELAY)

    def _leave_kind(self, error: Forbidden | NotFound | NotOffered) -> NoReturn:
        """Postpone a sync run whose kind cannot be read; reads of the kind wait, too."""
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
        logger.warning("sync run stopped", **_labels(self._run), error=str(error))
        self._release(delay, str(error))
        raise CallDeferredError(delay.total_seconds(), str(error), is_final=True) from None

    def _require_permission(self) -> None:
        """Postpone a sync run of an inaccessible kind, whether a sync run or a read found that it is inaccessible.

        Raises:
            CallDeferredError: the next trial is not due yet.
        """
        with self._context.engine.begin() as connection:
            permission = inaccessible_kinds.permission_to_read(connection, self._run.tenant, self._run.kind)
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
        filters = self._listing_filters()
        if name is not None:
            filters[name] = self._run.changed_since
        return self._client.first_query(self._kind, **filters)

    def _listing_filters(self) -> dict[str, Filter]:
        return listing_filters(self._kind, self._context.tenants[self._run.tenant])

    def _release(self, delay: timedelta | None, error: str | None) -> None:
        self._is_released = True
        with self._context.engine.begin() as connection:
            sync_runs.leave(connection, self._run, delay=delay, error=error)

    def _write(
        self, page: Page[Any], calls_before: int
    ) -> tuple[bool, RateLimited | Unauthorized | Unavailable | None]:
        """Write the changes of a page.

        Returns:
            False if another process has continued the sync run; and the error that stopped the reads of status logs, if
            it concerns the whole tenant.
        """
        page_changes = self._interpret(page)
        page_changes.stats.calls = self._counted.calls - calls_before
        change_sets = [changes for _, changes in page_changes.answers]
        with self._context.engine.begin() as connection:
            remove_suppressed_from_changes(connection, self._run.tenant, change_sets)
            differing = self._compare(page, page_changes)
            moved = self._store(connection, page, page_changes, differing)
        if moved:
            self._count(page_changes.stats)
            self._context.usage.saved(self._run.tenant, "refresh", page_changes.saved)
        return moved, page_changes.logs.stopped_by

    def _interpret(self, page: Page[Any]) -> _PageChanges:
        """Load the stored entities of a page, and make a change set of each answer."""
        run, tenant, kind = self._run, self._run.tenant, self._run.kind
        ids = [answer.resource.id for answer in page.answers]
        with self._context.engine.begin() as connection:
            page_changes = _PageChanges(
                ids,
                stored=load_stored(connection, tenant, kind, ids),
                under_way=refresh_queue.waiting(connection, tenant, kind, ids),
                oldest_pending_received_at=oldest_pending_received_at(connection, tenant),
            )
        stats = page_changes.stats
        stats.compared, stats.unreadable = len(ids), len(page.unreadable)
        for answer in page.answers:
            entity_id = answer.resource.id
            read = EntityRead(entity_id, page_changes.stored[entity_id], page_changes.logs)
            try:
                page_changes.answers.append((entity_id, changes_from_answer(kind, self._client, answer, read)))
            except ValueError as error:
                # The other entities must not wait for this one; its own read will show what is wrong.
                logger.warning("entity cannot be interpreted", **_labels(run), entity_id=entity_id, error=str(error))
                stats.unreadable += 1
                if self._kind.has_read:
                    page_changes.changes.require_read(kind, entity_id, "changed")
        return page_changes

    def _compare(self, page: Page[Any], page_changes: _PageChanges) -> list[int]:
        """Count missing and stale entities, without changes that may still arrive; return the ids that differ."""
        judged_until = min(page.tenant_time, page_changes.oldest_pending_received_at or page.tenant_time) - GRACE
        stats, differing = page_changes.stats, []
        for entity_id, changes in page_changes.answers:
            page_changes.changes.add(changes)
            difference = find_difference(page_changes.stored[entity_id], self._run.kind, entity_id, changes.facts)
            if difference is None or entity_id in page_changes.under_way or difference.at > judged_until:
                continue
            differing.append(entity_id)
            stats.missing += difference.is_missing
            stats.stale += not difference.is_missing
            behind = (page.tenant_time - difference.at).total_seconds()
            stats.behind_seconds = max(stats.behind_seconds or 0.0, behind)
        return differing

    def _store(self, connection: Connection, page: Page[Any], page_changes: _PageChanges, differing: list[int]) -> bool:
        """Write a page and the progress of the sync run; return False if another process has continued it."""
        run, tenant, kind = self._run, self._run.tenant, self._run.kind
        changes, stats = page_changes.changes, page_changes.stats
        if page.following is None:
            changes.facts += orphans(connection, tenant, kind, page.tenant_time)
        write_changes(connection, tenant, changes, skip_confirmed=True)
        page_changes.saved = self._resolve_requests(connection, page, page_changes)
        healed = load_stored(connection, tenant, kind, differing)
        stats.healed = sum(row.is_complete for row in healed.values())
        inaccessible_kinds.clear_inaccessible(connection, tenant, kind)
        if not sync_runs.move(connection, run, stats, began_at=page.tenant_time, following=page.following):
            return False
        if run.changed_since is None:
            note_listed(connection, run, page_changes.ids)
        if run.finished and run.changed_since is None:
            self._note_absent(connection)
        record_unknown_fields(connection, tenant, changes.unknown_fields)
        return True

    def _note_absent(self, connection: Connection) -> None:
        """Request reads of the stored entities that a complete listing did not show.

        Entities of a kind without a read of its own get their tombstones at once.
        """
        run = self._run
        has_read, is_local = self._kind.has_read, bool(self._listing_filters())
        ids = find_absent(connection, run, is_local=is_local, must_be_readable=not has_read)
        if has_read:
            self.absent = request_absent(connection, run, ids)
            return
        assert run.began_at is not None, "it has read its pages"
        facts = [presence(run.kind, entity_id, began_at=run.began_at, gone=True) for entity_id in ids]
        write_changes(connection, run.tenant, ChangeSet(facts=facts))
        self.absent = len(ids)

    def _resolve_requests(self, connection: Connection, page: Page[Any], page_changes: _PageChanges) -> int:
        """Resolve the requests that this page satisfies, because they were made before it was read; return how many.

        An entity that is still incomplete, such as one whose listing shows an older state, is read by itself.
        """
        tenant, kind = self._run.tenant, self._run.kind
        listed = {entity_id for entity_id, _ in page_changes.answers if (entity_id, "") in self._pending}
        stored = load_stored(connection, tenant, kind, listed) if listed else {}
        keys = [(entity_id, "") for entity_id, entity in stored.items() if entity.is_complete]
        if self._kind.reference_filter is not None:
            keys += [(0, getattr(answer.resource, self._kind.reference_filter) or "") for answer in page.answers]
        satisfied = {key: self._pending[key] for key in keys if key in self._pending}
        return refresh_queue.resolve(connection, tenant, kind, satisfied)

    def _count(self, stats: SyncRunStats) -> None:
        run = self._run
        run.stats.compared += stats.compared
        run.stats.missing += stats.missing
        run.stats.stale += stats.stale
        run.stats.healed += stats.healed
        run.stats.unreadable += stats.unreadable
        run.stats.calls += stats.calls
        for name in ("compared", "missing", "stale", "healed"):
            RECONCILED.labels(run.tenant, run.kind, name).inc(getattr(stats, name))
        if self.absent:
            RECONCILED.labels(run.tenant, run.kind, "absent").inc(self.absent)
        if stats.missing or stats.stale:
            logger.warning("differences healed", **_labels(run), missing=stats.missing, stale=stats.stale)


def _labels(run: SyncRun) -> dict[str, object]:
    return {
        "tenant": run.tenant,
        "kind": run.kind,
        "sync_run_id": str(run.sync_run_id),
        "purpose": run.purpose,
        "pages": run.pages,
    }
