"""Walks: compare the tenant's listings with what we know, page by page, and heal the differences.

Backfill and reconcile are the same walk, through everything or through what changed. Each
page is one transaction with the walk's progress, so a walk that was killed goes on from its
last page; and as older facts never win, it may run beside live traffic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

from ampeco.client import Client
from ampeco.errors import ApiError, Forbidden, RateLimited, Unauthorised, Unavailable
from ampeco.kinds import KINDS
from ampeco.listing import Page, Params
from storage import refresh_queue, refusals, walks
from storage.children import orphans
from storage.clock import clock
from storage.drift import record_drift
from storage.findings import Findings
from storage.fold import Fact
from storage.forgotten import withhold
from storage.known import Known, known, whole_group
from storage.mirrors import ABOUT_READS
from storage.usage import CallReason
from storage.walk_pages import note_listed
from storage.walks import Cursor, Found, Purpose, Walk
from storage.write import write_changes
from workers.budget import HeldBackError
from workers.context import Context
from workers.leases import renewed
from workers.logs import get_logger
from workers.metrics import WALKED
from workers.pause import recovered
from workers.reads import Wanted, findings_of_answer
from workers.refresh import hold_back, is_of_one, note_refusal
from workers.statuses import LogReads

logger = get_logger(__name__)

#: A listing is asked for what changed this long before the point that the last walk reached,
#: as a change may become visible a moment after its time.
OVERLAP = timedelta(minutes=5)

#: What changed within this time may still be on its way to us: it is healed, but nobody missed it.
GRACE = timedelta(minutes=2)

#: The first look at a kind without a backfill goes back this far.
FIRST_LOOK = timedelta(days=1)

#: The kinds that make up the fleet: few, and what all others refer to, so they go first.
FLEET = ("location", "charge_point", "evse")

#: Their statuses change without a change of theirs that a listing would tell, so they are always
#: walked whole: a call for a hundred of them.
WITH_STATUSES = ("charge_point", "evse")

#: Slow-changing ones are walked whole once a day without being asked to: that is also how
#: often one that nobody speaks of is read again.
DAILY = timedelta(days=1)

#: Short listings that do not tell what changed: they are walked whole, as the fleet is.
SHORT = ("tariff", "roaming_platform", "sub_operator")

#: The others are walked whole, to notice deletions, only after a backfill, and more rarely.
RARELY = timedelta(days=30)

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


@dataclass(frozen=True, slots=True)
class Due:
    """A walk that is due: the whole listing where ``changed_since`` is None."""

    tenant: str
    kind: str
    purpose: Purpose
    changed_since: datetime | None


class TokenRefusedError(HeldBackError):
    """The tenant refuses the token: none of its listings can be read until a person changes something."""


def listed() -> list[str]:
    """Every kind, in the order in which they are walked."""
    others = [kind for kind in KINDS if kind not in FLEET]
    return [*FLEET, *others]


def due_walks(context: Context, interval: timedelta, tenants: Collection[str] | None = None) -> list[Due]:
    """Return the walks that are due, in the order in which they are to be walked.

    Parameters:
        interval: how often what changed is reconciled.
        tenants: look at these alone, as far as they are configured; None for every configured one.
    """
    wanted = [name for name in context.tenants if tenants is None or name in tenants]
    with context.engine.begin() as connection:
        cursors = walks.cursors(connection, wanted)
    now = clock.now()
    found = [_due(tenant, kind, cursors.get((tenant, kind)), interval, now) for tenant in wanted for kind in listed()]
    return [due for due in found if due is not None]


def _due(tenant: str, kind: str, cursor: Cursor | None, interval: timedelta, now: datetime) -> Due | None:
    is_daily = kind in FLEET or kind in SHORT
    if cursor is None or (cursor.changed_until is None and cursor.open_walk is None):
        if not is_daily and KINDS[kind].changed_since is None:
            return None
        # A backfill: nobody can have missed what nobody has looked at before.
        return Due(tenant, kind, "backfill", None if is_daily else now - FIRST_LOOK)
    if cursor.open_walk is not None:
        return None if cursor.is_busy else Due(tenant, kind, cursor.open_walk, None)
    age, most = cursor.whole_seconds_ago, DAILY if is_daily else RARELY
    if (age is None and is_daily) or (age is not None and age > most.total_seconds()):
        return Due(tenant, kind, "reconcile", None)
    if cursor.checked_seconds_ago is None or cursor.checked_seconds_ago < interval.total_seconds():
        return None
    if KINDS[kind].changed_since is None and kind not in WITH_STATUSES:
        return None
    return Due(tenant, kind, "reconcile", since(kind, cursor))


def since(kind: str, cursor: Cursor | None) -> datetime | None:
    """What to ask a listing for when it is reconciled: what changed then or later; None for everything."""
    reached = None if cursor is None or kind in WITH_STATUSES else cursor.changed_until
    return None if reached is None or KINDS[kind].changed_since is None else reached - OVERLAP


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
        walk, tenant, kind = self._walk, self._walk.tenant, self._walk.kind
        ids = [answer.resource.id for answer in page.answers]
        with self._context.engine.begin() as connection:
            stored = known(connection, tenant, kind, ids)
            under_way = refresh_queue.waiting(connection, tenant, kind, ids)
            oldest = walks.oldest_under_way(connection, tenant)
        judged_until = min(page.tenant_time, oldest or page.tenant_time) - GRACE
        found, said = Found(compared=len(ids), unreadable=len(page.unreadable)), Findings()
        told: list[tuple[int, Findings]] = []
        logs = LogReads(are_optional=True)
        for answer in page.answers:
            entity_id = answer.resource.id
            wanted = Wanted(entity_id, stored[entity_id], logs)
            try:
                told.append((entity_id, findings_of_answer(kind, self._client, answer, wanted)))
            except ValueError as error:
                # Its neighbours are not to wait for it; its own read will tell what is wrong.
                logger.warning("cannot be understood", **_labels(walk), entity_id=entity_id, error=str(error))
                found.unreadable += 1
                said.want(kind, entity_id, "changed")
        found.calls = self._counted.calls - calls_before
        with self._context.engine.begin() as connection:
            withhold(connection, tenant, [one for _, one in told])
            differing = []
            for entity_id, one in told:
                said.add(one)
                difference = _difference(stored[entity_id], kind, entity_id, one.facts)
                if difference is None or entity_id in under_way or difference.at > judged_until:
                    continue
                differing.append(entity_id)
                found.missing += difference.is_missing
                found.stale += not difference.is_missing
                behind = (page.tenant_time - difference.at).total_seconds()
                found.behind_seconds = max(found.behind_seconds or 0.0, behind)
            if page.following is None:
                said.facts += orphans(connection, tenant, kind, page.tenant_time)
            write_changes(connection, tenant, said, skip_confirmed=True)
            healed = known(connection, tenant, kind, differing)
            found.healed = sum(row.is_whole for row in healed.values())
            refusals.lift(connection, tenant, kind)
            moved = walks.move(connection, walk, found, began_at=page.tenant_time, following=page.following)
            if not moved:
                return False
            if walk.changed_since is None:
                note_listed(connection, tenant, walk.walk_id, walk.pages, ids)
            if walk.finished and walk.changed_since is None:
                self.absent = walks.note_absent(connection, walk)
            record_drift(connection, tenant, said.drift)
        self._count(found)
        logs.end()
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
