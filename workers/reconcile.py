"""Sync runs: compare the tenant's listings with what we know, page by page, and heal the differences.

Backfill and reconcile are the same sync run, through everything or through what changed. Each
page is one transaction with the sync run's progress, so a sync run that was killed goes on from its
last page; and as older facts never win, it may run beside live traffic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NoReturn

from sqlalchemy import Connection

from ampeco.client import Client
from ampeco.errors import ApiError, Forbidden, RateLimited, Unauthorized, Unavailable
from ampeco.kinds import KINDS
from ampeco.listing import Page, Params
from storage import forbidden_kinds, refresh_queue, sync_runs
from storage.changes import ChangeSet
from storage.children import orphans
from storage.fold import Fact
from storage.mirrors import ABOUT_READS
from storage.stored import StoredEntity, load_stored, snapshot_group
from storage.suppression import remove_suppressed_from_changes
from storage.sync_run_pages import note_listed
from storage.sync_runs import SyncRun, SyncRunStats
from storage.unknown_fields import record_unknown_fields
from storage.usage import CallReason
from storage.write import write_changes
from workers.backoff import is_of_one, note_forbidden, pause_tenant
from workers.context import Context
from workers.leases import renewed
from workers.logs import get_logger
from workers.metrics import RECONCILED
from workers.pause import recovered
from workers.rate_limit import CallDeferredError
from workers.reads import EntityRead, changes_from_answer
from workers.statuses import LogReads
from workers.sync_schedule import due_sync_runs

logger = get_logger(__name__)

#: What changed within this time may still be on its way to us: it is healed, but nobody missed it.
GRACE = timedelta(minutes=2)

#: A message's share of a sync run; the next message goes on.
TIME_BUDGET_SECONDS = 45.0

#: A pause this short is waited for with the sync run in hand; it is over sooner than the next process is woken.
SHORT_PAUSE_SECONDS = 5.0

#: A listing that the token may not read, or that cannot be read, is tried again after this long.
REFUSED_DELAY = timedelta(hours=1)

#: One that failed at AMPECO's side, sooner.
FAILED_DELAY = timedelta(minutes=5)

#: Ten million entities.
MAX_PAGES = 100_000


class TokenRefusedError(CallDeferredError):
    """The tenant refuses the token: none of its listings can be read until a person changes something."""


def run_due(context: Context, tenant: str, interval: timedelta) -> int:
    """SyncRun what is due of one tenant until the time budget is spent; returns how many pages were read."""
    deadline = time.monotonic() + TIME_BUDGET_SECONDS
    pages = 0

    def wait(seconds: float, why: str) -> None:
        if seconds > SHORT_PAUSE_SECONDS or time.monotonic() + seconds >= deadline:
            raise CallDeferredError(seconds, why)
        time.sleep(seconds)

    tried: set[str] = set()
    while time.monotonic() < deadline:
        # Looked up for each sync run, as another process may have synced what was due when this one began.
        stats = due_sync_runs(context, interval, [tenant])
        due = next((one for one in stats if one.kind not in tried), None)
        if due is None:
            break
        tried.add(due.kind)
        with context.engine.begin() as connection:
            run = sync_runs.begin(connection, tenant, due.kind, due.purpose, due.changed_since)
        if run is None:
            continue
        try:
            for _ in steps(context, run, reason=run.purpose, wait=wait):
                pages += 1
                if time.monotonic() >= deadline:
                    break
        except CallDeferredError as held:
            if not held.is_final:
                break
    return pages


def _refuse_to_wait(seconds: float, why: str) -> None:
    raise CallDeferredError(seconds, why)


def steps(
    context: Context,
    run: SyncRun,
    *,
    reason: CallReason,
    wait: Callable[[float, str], None] = _refuse_to_wait,
    heeds_forbidden: bool = True,
) -> Iterator[SyncRun]:
    """SyncRun on, yielding the sync run after each page, until it is finished or another process has moved it on.

    A caller that stops early leaves the sync run as it stands.

    Parameters:
        wait: called with seconds and a reason when the tenant asks for a pause. It returns when the pause is
            over, and the sync run continues; or it raises a :class:`CallDeferredError`, and the sync run is put off.
        heeds_refusal: leave a kind alone that the token may not read, as was found within the hour.

    Raises:
        CallDeferredError: the listing was refused or failed, or the tenant is paused.
    """
    runner = _SyncRunner(context, run, reason, wait, heeds_forbidden)
    with renewed(runner.renew_lease):
        try:
            while not run.finished:
                if not runner.turn_page():
                    logger.info("sync run taken up by another process", **_labels(run))
                    return
                yield run
            logger.info("sync run finished", **_labels(run), absent=runner.absent)
        finally:
            runner.close()


@dataclass(slots=True)
class _Taken:
    """A page on its way into the tables.

    Attributes:
        ids: the entities that it lists.
        stored: what is stored of them.
        under_way: those that wait for a read already.
        oldest_under_way: when the oldest notification came that is not applied yet.
        answers: what is said of each entity that can be understood.
        changes: all of it, and the reads that are requested.
    """

    ids: list[int]
    stored: dict[int, StoredEntity]
    under_way: set[int]
    oldest_under_way: datetime | None
    answers: list[tuple[int, ChangeSet]] = field(default_factory=list)
    changes: ChangeSet = field(default_factory=ChangeSet)
    stats: SyncRunStats = field(default_factory=SyncRunStats)
    logs: LogReads = field(default_factory=lambda: LogReads(are_optional=True))


class _SyncRunner:
    """One process's part of a sync run."""

    def __init__(
        self,
        context: Context,
        run: SyncRun,
        reason: CallReason,
        wait: Callable[[float, str], None],
        heeds_forbidden: bool,
    ) -> None:
        self._context = context
        self._run = run
        self._wait = wait
        self._heeds_forbidden = heeds_forbidden
        self._counted = context.counted_client(run.tenant, reason)
        self._kind = KINDS[run.kind]
        self._is_left = False
        #: Queries of the pages that this process turned.
        self._turned: set[frozenset[tuple[str, str]]] = set()
        self.absent = 0

    @property
    def _client(self) -> Client:
        return self._counted.client

    def close(self) -> None:
        self._client.close()
        if not self._run.finished and not self._is_left:
            self._leave(None, None)

    def renew_lease(self) -> None:
        with self._context.engine.begin() as connection:
            sync_runs.renew(connection, self._run)

    def turn_page(self) -> bool:
        """Read and write one page; returns False where another process has moved the sync run on."""
        run = self._run
        if self._heeds_forbidden:
            self._heed_forbidden()
        query = run.following or self._first_query()
        calls = self._counted.calls
        while True:
            try:
                page = self._client.page(self._kind, query)
                self._require_progress(query, page.following)
                moved = self._take(page, calls)
            except CallDeferredError as held:
                self._leave(timedelta(seconds=held.seconds), held.why)
                raise
            except (RateLimited, Unauthorized, Unavailable) as error:
                if is_of_one(error):
                    self._stop(error, FAILED_DELAY)
                self._pause(error)
            except (ApiError, ValueError) as error:
                if isinstance(error, Forbidden):
                    note_forbidden(self._context, run.tenant, run.kind, error)
                self._stop(error, REFUSED_DELAY)
            else:
                recovered(self._context.redis, run.tenant)
                return moved

    def _pause(self, error: RateLimited | Unauthorized | Unavailable) -> None:
        """Pause the tenant for all processes, and return when that is over.

        Raises:
            CallDeferredError: the caller does not wait that long, or waiting does not help; the sync run is put off.
        """
        seconds = pause_tenant(self._context, self._run.tenant, error)
        try:
            if isinstance(error, Unauthorized):
                raise TokenRefusedError(seconds, str(error), is_final=True)
            self._wait(seconds, str(error))
        except CallDeferredError:
            self._leave(timedelta(seconds=seconds), str(error))
            raise

    def _require_progress(self, query: Params, following: Params | None) -> None:
        """See that a listing which never ends ends here.

        Raises:
            ValueError: it leads back to a page that this sync run has turned, or has more pages than any fleet.
        """
        self._turned.add(frozenset(query))
        if following is not None and frozenset(following) in self._turned:
            raise ValueError("the listing leads back to a page that it already gave")
        if self._run.pages >= MAX_PAGES:
            raise ValueError(f"the listing has no end: {self._run.pages:,} pages were read")

    def _stop(self, error: Exception, delay: timedelta) -> NoReturn:
        """Leave a sync run whose listing cannot be synced now; the sync runs of other kinds go on."""
        logger.warning("sync run stopped", **_labels(self._run), error=str(error))
        self._leave(delay, str(error))
        raise CallDeferredError(delay.total_seconds(), str(error), is_final=True) from None

    def _heed_forbidden(self) -> None:
        """Leave a kind alone that the token may not read, whether a sync run or a read found out.

        Raises:
            CallDeferredError: it was refused within the hour.
        """
        with self._context.engine.begin() as connection:
            permission = forbidden_kinds.permission_to_read(connection, self._run.tenant, self._run.kind)
        if permission == "refused":
            why = f"the token may not read the kind {self._run.kind}"
            self._leave(REFUSED_DELAY, why)
            raise CallDeferredError(REFUSED_DELAY.total_seconds(), why, is_final=True)

    def _first_query(self) -> list[tuple[str, str]]:
        since, name = self._run.changed_since, self._kind.changed_since
        filters = {name: since} if since is not None and name is not None else {}
        return self._client.first_query(self._kind, **filters)

    def _leave(self, delay: timedelta | None, error: str | None) -> None:
        self._is_left = True
        with self._context.engine.begin() as connection:
            sync_runs.leave(connection, self._run, delay=delay, error=error)

    def _take(self, page: Page[Any], calls_before: int) -> bool:
        """Write what a page shows; returns False where another process has moved the sync run on."""
        taken = self._interpret(page)
        taken.stats.calls = self._counted.calls - calls_before
        with self._context.engine.begin() as connection:
            remove_suppressed_from_changes(connection, self._run.tenant, [changes for _, changes in taken.answers])
            differing = self._compare(page, taken)
            moved = self._store(connection, page, taken, differing)
        if moved:
            self._count(taken.stats)
            taken.logs.end()
        return moved

    def _interpret(self, page: Page[Any]) -> _Taken:
        """Read what is stored of the entities that a page lists, and make findings of each answer."""
        run, tenant, kind = self._run, self._run.tenant, self._run.kind
        ids = [answer.resource.id for answer in page.answers]
        with self._context.engine.begin() as connection:
            taken = _Taken(
                ids,
                stored=load_stored(connection, tenant, kind, ids),
                under_way=refresh_queue.waiting(connection, tenant, kind, ids),
                oldest_under_way=sync_runs.oldest_under_way(connection, tenant),
            )
        taken.stats.compared, taken.stats.unreadable = len(ids), len(page.unreadable)
        for answer in page.answers:
            entity_id = answer.resource.id
            wanted = EntityRead(entity_id, taken.stored[entity_id], taken.logs)
            try:
                taken.answers.append((entity_id, changes_from_answer(kind, self._client, answer, wanted)))
            except ValueError as error:
                # Its neighbours are not to wait for it; its own read will tell what is wrong.
                logger.warning("cannot be understood", **_labels(run), entity_id=entity_id, error=str(error))
                taken.stats.unreadable += 1
                taken.changes.require_read(kind, entity_id, "changed")
        return taken

    def _compare(self, page: Page[Any], taken: _Taken) -> list[int]:
        """Count what we missed, as far as nothing was under way to tell us; returns the entities that differ."""
        judged_until = min(page.tenant_time, taken.oldest_under_way or page.tenant_time) - GRACE
        stats, differing = taken.stats, []
        for entity_id, changes in taken.answers:
            taken.changes.add(changes)
            difference = _difference(taken.stored[entity_id], self._run.kind, entity_id, changes.facts)
            if difference is None or entity_id in taken.under_way or difference.at > judged_until:
                continue
            differing.append(entity_id)
            stats.missing += difference.is_missing
            stats.stale += not difference.is_missing
            behind = (page.tenant_time - difference.at).total_seconds()
            stats.behind_seconds = max(stats.behind_seconds or 0.0, behind)
        return differing

    def _store(self, connection: Connection, page: Page[Any], taken: _Taken, differing: list[int]) -> bool:
        """Write a page and move the run on, in one transaction; return False where another process has moved it."""
        run, tenant, kind = self._run, self._run.tenant, self._run.kind
        changes, stats = taken.changes, taken.stats
        if page.following is None:
            changes.facts += orphans(connection, tenant, kind, page.tenant_time)
        write_changes(connection, tenant, changes, skip_confirmed=True)
        healed = load_stored(connection, tenant, kind, differing)
        stats.healed = sum(row.is_complete for row in healed.values())
        forbidden_kinds.clear_forbidden(connection, tenant, kind)
        if not sync_runs.move(connection, run, stats, began_at=page.tenant_time, following=page.following):
            return False
        if run.changed_since is None:
            note_listed(connection, tenant, run.sync_run_id, run.pages, taken.ids)
        if run.finished and run.changed_since is None:
            self.absent = sync_runs.note_absent(connection, run)
        record_unknown_fields(connection, tenant, changes.unknown_fields)
        return True

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


@dataclass(frozen=True, slots=True)
class _Difference:
    """How an entity that is listed differs from what we know; ``at`` is the time of the newest missed change."""

    is_missing: bool
    at: datetime


def _difference(stored: StoredEntity, kind: str, entity_id: int, facts: list[Fact]) -> _Difference | None:
    """What we did not know of an entity, or knew only in part or in an older state; None where nothing."""
    missed: list[datetime] = []
    is_missing = False
    for fact in facts:
        if fact.kind != kind or fact.entity_id != entity_id or fact.group in ABOUT_READS:
            continue
        at, version = stored.get(f"{fact.group}_at"), stored.version(fact.group)
        if not version or version.is_provisional:
            if any(value is not None for value in fact.values.values()):
                missed.append(fact.at)
                is_missing = is_missing or fact.group == snapshot_group(kind)
        elif at is not None and (fact.at, fact.version) > (at, version) and not fact.version.has_values_of(version):
            missed.append(fact.at)
    if stored.get("deleted_at") is not None:
        missed += [fact.at for fact in facts if fact.kind == kind and fact.group not in ABOUT_READS]
    return _Difference(is_missing, max(missed)) if missed else None


def _labels(run: SyncRun) -> dict[str, object]:
    return {
        "tenant": run.tenant,
        "kind": run.kind,
        "sync_run_id": str(run.sync_run_id),
        "purpose": run.purpose,
        "pages": run.pages,
    }
