"""Walks: compare the tenant's listings with what we know, page by page, and heal the differences.

Backfill and reconcile are the same walk, through everything or through what changed. Each
page is one transaction with the walk's progress, so a walk that was killed goes on from its
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
from ampeco.errors import ApiError, Forbidden, RateLimited, Unauthorised, Unavailable
from ampeco.kinds import KINDS
from ampeco.listing import Page, Params
from storage import refresh_queue, refusals, walks
from storage.children import orphans
from storage.drift import record_drift
from storage.findings import Findings
from storage.fold import Fact
from storage.forgotten import withhold
from storage.known import Known, known, whole_group
from storage.mirrors import ABOUT_READS
from storage.usage import CallReason
from storage.walk_pages import note_listed
from storage.walks import Found, Walk
from storage.write import write_changes
from workers.backoff import hold_back, is_of_one, note_refusal
from workers.budget import HeldBackError
from workers.context import Context
from workers.leases import renewed
from workers.logs import get_logger
from workers.metrics import WALKED
from workers.pause import recovered
from workers.reads import Wanted, findings_of_answer
from workers.statuses import LogReads
from workers.walk_schedule import due_walks

logger = get_logger(__name__)

#: What changed within this time may still be on its way to us: it is healed, but nobody missed it.
GRACE = timedelta(minutes=2)

#: A message's share of a walk; the next message goes on.
TIME_BUDGET_SECONDS = 45.0

#: A pause this short is waited for with the walk in hand; it is over sooner than the next process is woken.
SHORT_PAUSE_SECONDS = 5.0

#: A listing that the token may not read, or that cannot be read, is tried again after this long.
REFUSED_DELAY = timedelta(hours=1)

#: One that failed at AMPECO's side, sooner.
FAILED_DELAY = timedelta(minutes=5)

#: Ten million entities.
MOST_PAGES = 100_000


class TokenRefusedError(HeldBackError):
    """The tenant refuses the token: none of its listings can be read until a person changes something."""


def walk_due(context: Context, tenant: str, interval: timedelta) -> int:
    """Walk what is due of one tenant until the time budget is spent; returns how many pages were read."""
    deadline = time.monotonic() + TIME_BUDGET_SECONDS
    pages = 0

    def wait(seconds: float, why: str) -> None:
        if seconds > SHORT_PAUSE_SECONDS or time.monotonic() + seconds >= deadline:
            raise HeldBackError(seconds, why)
        time.sleep(seconds)

    tried: set[str] = set()
    while time.monotonic() < deadline:
        # Looked up for each walk, as another process may have walked what was due when this one began.
        found = due_walks(context, interval, [tenant])
        due = next((one for one in found if one.kind not in tried), None)
        if due is None:
            break
        tried.add(due.kind)
        with context.engine.begin() as connection:
            walk = walks.begin(connection, tenant, due.kind, due.purpose, due.changed_since)
        if walk is None:
            continue
        try:
            for _ in steps(context, walk, reason=walk.purpose, wait=wait):
                pages += 1
                if time.monotonic() >= deadline:
                    break
        except HeldBackError as held:
            if not held.is_final:
                break
    return pages


def _refuse_to_wait(seconds: float, why: str) -> None:
    raise HeldBackError(seconds, why)


def steps(
    context: Context,
    walk: Walk,
    *,
    reason: CallReason,
    wait: Callable[[float, str], None] = _refuse_to_wait,
    heeds_refusal: bool = True,
) -> Iterator[Walk]:
    """Walk on, yielding the walk after each page, until it is finished or another process has moved it on.

    A caller that stops early leaves the walk as it stands.

    Parameters:
        wait: called with seconds and a reason when the tenant asks for a pause. It returns when the pause is
            over, and the walk continues; or it raises a :class:`HeldBackError`, and the walk is put off.
        heeds_refusal: leave a kind alone that the token may not read, as was found within the hour.

    Raises:
        HeldBackError: the listing was refused or failed, or the tenant is paused, by what it answered or by its pace.
    """
    walker = _Walker(context, walk, reason, wait, heeds_refusal)
    with renewed(walker.renew_lease):
        try:
            while not walk.finished:
                if not walker.turn_page():
                    logger.info("walk taken up by another process", **_labels(walk))
                    return
                yield walk
            logger.info("walk finished", **_labels(walk), absent=walker.absent)
        finally:
            walker.close()


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
    stored: dict[int, Known]
    under_way: set[int]
    oldest_under_way: datetime | None
    answers: list[tuple[int, Findings]] = field(default_factory=list)
    changes: Findings = field(default_factory=Findings)
    found: Found = field(default_factory=Found)
    logs: LogReads = field(default_factory=lambda: LogReads(are_optional=True))


class _Walker:
    """One process's part of a walk."""

    def __init__(
        self,
        context: Context,
        walk: Walk,
        reason: CallReason,
        wait: Callable[[float, str], None],
        heeds_refusal: bool,
    ) -> None:
        self._context = context
        self._walk = walk
        self._wait = wait
        self._heeds_refusal = heeds_refusal
        self._counted = context.counted_client(walk.tenant, reason)
        self._kind = KINDS[walk.kind]
        self._is_left = False
        #: Queries of the pages that this process turned.
        self._turned: set[frozenset[tuple[str, str]]] = set()
        self.absent = 0

    @property
    def _client(self) -> Client:
        return self._counted.client

    def close(self) -> None:
        self._client.close()
        if not self._walk.finished and not self._is_left:
            self._leave(None, None)

    def renew_lease(self) -> None:
        with self._context.engine.begin() as connection:
            walks.renew(connection, self._walk)

    def turn_page(self) -> bool:
        """Read and write one page; returns False where another process has moved the walk on."""
        walk = self._walk
        if self._heeds_refusal:
            self._heed_refusal()
        query = walk.following or self._first_query()
        calls = self._counted.calls
        while True:
            try:
                page = self._client.page(self._kind, query)
                self._require_progress(query, page.following)
                moved = self._take(page, calls)
            except HeldBackError as held:
                self._leave(timedelta(seconds=held.seconds), held.why)
                raise
            except (RateLimited, Unauthorised, Unavailable) as error:
                if is_of_one(error):
                    self._stop(error, FAILED_DELAY)
                self._pause(error)
            except (ApiError, ValueError) as error:
                if isinstance(error, Forbidden):
                    note_refusal(self._context, walk.tenant, walk.kind, error)
                self._stop(error, REFUSED_DELAY)
            else:
                recovered(self._context.redis, walk.tenant)
                return moved

    def _pause(self, error: RateLimited | Unauthorised | Unavailable) -> None:
        """Pause the tenant for all processes, and return when that is over.

        Raises:
            HeldBackError: the caller does not wait that long, or waiting does not help; the walk is put off.
        """
        seconds = hold_back(self._context, self._walk.tenant, error)
        try:
            if isinstance(error, Unauthorised):
                raise TokenRefusedError(seconds, str(error), is_final=True)
            self._wait(seconds, str(error))
        except HeldBackError:
            self._leave(timedelta(seconds=seconds), str(error))
            raise

    def _require_progress(self, query: Params, following: Params | None) -> None:
        """See that a listing which never ends ends here.

        Raises:
            ValueError: it leads back to a page that this walk has turned, or has more pages than any fleet.
        """
        self._turned.add(frozenset(query))
        if following is not None and frozenset(following) in self._turned:
            raise ValueError("the listing leads back to a page that it already gave")
        if self._walk.pages >= MOST_PAGES:
            raise ValueError(f"the listing has no end: {self._walk.pages:,} pages were read")

    def _stop(self, error: Exception, delay: timedelta) -> NoReturn:
        """Leave a walk whose listing cannot be walked now; the walks of other kinds go on."""
        logger.warning("walk stopped", **_labels(self._walk), error=str(error))
        self._leave(delay, str(error))
        raise HeldBackError(delay.total_seconds(), str(error), is_final=True) from None

    def _heed_refusal(self) -> None:
        """Leave a kind alone that the token may not read, whether a walk or a read found out.

        Raises:
            HeldBackError: it was refused within the hour.
        """
        with self._context.engine.begin() as connection:
            permission = refusals.may_ask(connection, self._walk.tenant, self._walk.kind)
        if permission == "refused":
            why = f"the token may not read the kind {self._walk.kind}"
            self._leave(REFUSED_DELAY, why)
            raise HeldBackError(REFUSED_DELAY.total_seconds(), why, is_final=True)

    def _first_query(self) -> list[tuple[str, str]]:
        since, name = self._walk.changed_since, self._kind.changed_since
        filters = {name: since} if since is not None and name is not None else {}
        return self._client.first_query(self._kind, **filters)

    def _leave(self, delay: timedelta | None, error: str | None) -> None:
        self._is_left = True
        with self._context.engine.begin() as connection:
            walks.leave(connection, self._walk, delay=delay, error=error)

    def _take(self, page: Page[Any], calls_before: int) -> bool:
        """Write what a page shows; returns False where another process has moved the walk on."""
        taken = self._interpret(page)
        taken.found.calls = self._counted.calls - calls_before
        with self._context.engine.begin() as connection:
            withhold(connection, self._walk.tenant, [findings for _, findings in taken.answers])
            differing = self._compare(page, taken)
            moved = self._store(connection, page, taken, differing)
        if moved:
            self._count(taken.found)
            taken.logs.end()
        return moved

    def _interpret(self, page: Page[Any]) -> _Taken:
        """Read what is stored of the entities that a page lists, and make findings of each answer."""
        walk, tenant, kind = self._walk, self._walk.tenant, self._walk.kind
        ids = [answer.resource.id for answer in page.answers]
        with self._context.engine.begin() as connection:
            taken = _Taken(
                ids,
                stored=known(connection, tenant, kind, ids),
                under_way=refresh_queue.waiting(connection, tenant, kind, ids),
                oldest_under_way=walks.oldest_under_way(connection, tenant),
            )
        taken.found.compared, taken.found.unreadable = len(ids), len(page.unreadable)
        for answer in page.answers:
            entity_id = answer.resource.id
            wanted = Wanted(entity_id, taken.stored[entity_id], taken.logs)
            try:
                taken.answers.append((entity_id, findings_of_answer(kind, self._client, answer, wanted)))
            except ValueError as error:
                # Its neighbours are not to wait for it; its own read will tell what is wrong.
                logger.warning("cannot be understood", **_labels(walk), entity_id=entity_id, error=str(error))
                taken.found.unreadable += 1
                taken.changes.want(kind, entity_id, "changed")
        return taken

    def _compare(self, page: Page[Any], taken: _Taken) -> list[int]:
        """Count what we missed, as far as nothing was under way to tell us; returns the entities that differ."""
        judged_until = min(page.tenant_time, taken.oldest_under_way or page.tenant_time) - GRACE
        found, differing = taken.found, []
        for entity_id, findings in taken.answers:
            taken.changes.add(findings)
            difference = _difference(taken.stored[entity_id], self._walk.kind, entity_id, findings.facts)
            if difference is None or entity_id in taken.under_way or difference.at > judged_until:
                continue
            differing.append(entity_id)
            found.missing += difference.is_missing
            found.stale += not difference.is_missing
            behind = (page.tenant_time - difference.at).total_seconds()
            found.behind_seconds = max(found.behind_seconds or 0.0, behind)
        return differing

    def _store(self, connection: Connection, page: Page[Any], taken: _Taken, differing: list[int]) -> bool:
        """Write a page and move the walk on, in one transaction; returns False where another process has moved it."""
        walk, tenant, kind = self._walk, self._walk.tenant, self._walk.kind
        changes, found = taken.changes, taken.found
        if page.following is None:
            changes.facts += orphans(connection, tenant, kind, page.tenant_time)
        write_changes(connection, tenant, changes, skip_confirmed=True)
        healed = known(connection, tenant, kind, differing)
        found.healed = sum(row.is_whole for row in healed.values())
        refusals.lift(connection, tenant, kind)
        if not walks.move(connection, walk, found, began_at=page.tenant_time, following=page.following):
            return False
        if walk.changed_since is None:
            note_listed(connection, tenant, walk.walk_id, walk.pages, taken.ids)
        if walk.finished and walk.changed_since is None:
            self.absent = walks.note_absent(connection, walk)
        record_drift(connection, tenant, changes.drift)
        return True

    def _count(self, found: Found) -> None:
        walk = self._walk
        walk.found.compared += found.compared
        walk.found.missing += found.missing
        walk.found.stale += found.stale
        walk.found.healed += found.healed
        walk.found.unreadable += found.unreadable
        walk.found.calls += found.calls
        for name in ("compared", "missing", "stale", "healed"):
            WALKED.labels(walk.tenant, walk.kind, name).inc(getattr(found, name))
        if self.absent:
            WALKED.labels(walk.tenant, walk.kind, "absent").inc(self.absent)
        if found.missing or found.stale:
            logger.warning("differences healed", **_labels(walk), missing=found.missing, stale=found.stale)


@dataclass(frozen=True, slots=True)
class _Difference:
    """How an entity that is listed differs from what we know; ``at`` is the time of the newest missed change."""

    is_missing: bool
    at: datetime


def _difference(stored: Known, kind: str, entity_id: int, facts: list[Fact]) -> _Difference | None:
    """What we did not know of an entity, or knew only in part or in an older state; None where nothing."""
    missed: list[datetime] = []
    is_missing = False
    for fact in facts:
        if fact.entity != kind or fact.entity_id != entity_id or fact.group in ABOUT_READS:
            continue
        at, version = stored.get(f"{fact.group}_at"), stored.version(fact.group)
        if not version or version.is_provisional:
            if any(value is not None for value in fact.values.values()):
                missed.append(fact.at)
                is_missing = is_missing or fact.group == whole_group(kind)
        elif at is not None and (fact.at, fact.version) > (at, version) and not fact.version.has_values_of(version):
            missed.append(fact.at)
    if stored.get("deleted_at") is not None:
        missed += [fact.at for fact in facts if fact.entity == kind and fact.group not in ABOUT_READS]
    return _Difference(is_missing, max(missed)) if missed else None


def _labels(walk: Walk) -> dict[str, object]:
    return {
        "tenant": walk.tenant,
        "kind": walk.kind,
        "walk_id": str(walk.walk_id),
        "purpose": walk.purpose,
        "pages": walk.pages,
    }
