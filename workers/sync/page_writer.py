"""Compare a page of a tenant's listing with the stored entities, and store what differs.

Each page is one transaction with the progress of the sync run, so a sync run that was killed continues after its last
page. It may run beside live traffic, because older facts never replace newer ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection

from ampeco.api.listing import Page
from ampeco.errors import RateLimited, Unauthorized, Unavailable
from ampeco.resources.kinds import KINDS
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
from storage.sync.sync_runs import SyncRun, SyncRunStats
from storage.write import write_changes
from workers.api.context import Context, CountedClient
from workers.metrics import RECONCILED
from workers.sync.differences import find_difference
from workers.sync.reads import EntityRead, changes_from_answer, listing_filters
from workers.sync.statuses import LogReads

logger = get_logger(__name__)

#: Changes younger than this may still arrive as notifications: they are healed, but do not count as missing or stale.
GRACE = timedelta(minutes=2)


class WrittenPage(NamedTuple):
    """What became of a page.

    Attributes:
        moved: False if another process has continued the sync run.
        stopped_by: the error that stopped the reads of status logs, if it concerns the whole tenant.
    """

    moved: bool
    stopped_by: RateLimited | Unauthorized | Unavailable | None


@dataclass(slots=True)
class _PageChanges:
    """A page that is about to be written.

    Attributes:
        ids: the ids of the entities that it lists.
        pending: the refresh requests of the kind before the page was read, with their generations.
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
    pending: Mapping[tuple[int, str], int]
    stored: dict[int, StoredEntity]
    under_way: set[int]
    oldest_pending_received_at: datetime | None
    answers: list[tuple[int, ChangeSet]] = field(default_factory=list)
    changes: ChangeSet = field(default_factory=ChangeSet)
    stats: SyncRunStats = field(default_factory=SyncRunStats)
    logs: LogReads = field(default_factory=lambda: LogReads(are_optional=True))
    saved: int = 0


class PageWriter:
    """Writes the pages of a sync run.

    Attributes:
        absent: number of stored entities that a complete listing did not show; 0 before its last page.
    """

    def __init__(self, context: Context, run: SyncRun, counted: CountedClient) -> None:
        self._context = context
        self._run = run
        self._counted = counted
        self._kind = KINDS[run.kind]
        self.absent = 0

    def write(self, page: Page[Any], pending: Mapping[tuple[int, str], int], *, calls_before: int) -> WrittenPage:
        """Store what differs of a page, and the progress of the sync run.

        Parameters:
            pending: the refresh requests of the kind before the page was read, with their generations.
            calls_before: number of calls that the client had made before the page was read.
        """
        page_changes = self._interpret(page, pending)
        page_changes.stats.calls = self._counted.calls - calls_before
        change_sets = [changes for _, changes in page_changes.answers]
        with self._context.engine.begin() as connection:
            remove_suppressed_from_changes(connection, self._run.tenant, change_sets)
            differing = self._compare(page, page_changes)
            moved = self._store(connection, page, page_changes, differing)
        if moved:
            self._count(page_changes.stats)
            self._context.usage.saved(self._run.tenant, "refresh", page_changes.saved)
        return WrittenPage(moved, page_changes.logs.stopped_by)

    def _interpret(self, page: Page[Any], pending: Mapping[tuple[int, str], int]) -> _PageChanges:
        """Load the stored entities of a page, and make a change set of each answer."""
        run, tenant, kind = self._run, self._run.tenant, self._run.kind
        ids = [answer.resource.id for answer in page.answers]
        with self._context.engine.begin() as connection:
            page_changes = _PageChanges(
                ids,
                pending,
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
                page_changes.answers.append((entity_id, changes_from_answer(kind, self._counted.client, answer, read)))
            except ValueError as error:
                # The other entities must not wait for this one; its own read will show what is wrong.
                logger.warning("entity cannot be interpreted", **run_labels(run), entity_id=entity_id, error=str(error))
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
        has_read, is_local = self._kind.has_read, bool(listing_filters(self._kind, self._context.tenants[run.tenant]))
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
        listed = {entity_id for entity_id, _ in page_changes.answers if (entity_id, "") in page_changes.pending}
        stored = load_stored(connection, tenant, kind, listed) if listed else {}
        keys = [(entity_id, "") for entity_id, entity in stored.items() if entity.is_complete]
        if self._kind.reference_filter is not None:
            keys += [(0, getattr(answer.resource, self._kind.reference_filter) or "") for answer in page.answers]
        satisfied = {key: page_changes.pending[key] for key in keys if key in page_changes.pending}
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
            logger.warning("differences healed", **run_labels(run), missing=stats.missing, stale=stats.stale)


def run_labels(run: SyncRun) -> dict[str, object]:
    """Return the fields of a log line that say which sync run it is about."""
    return {
        "tenant": run.tenant,
        "kind": run.kind,
        "sync_run_id": str(run.sync_run_id),
        "purpose": run.purpose,
        "pages": run.pages,
    }
