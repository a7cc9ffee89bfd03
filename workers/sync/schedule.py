"""The schedule of sync runs: when each kind of each tenant is synced, and whether in full or through what changed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ampeco.resources.kind import DAY
from ampeco.resources.kinds import KINDS, kinds_of
from ampeco.tenants import Tenant
from storage.clock import clock
from storage.sync import sync_runs
from storage.sync.sync_runs import Cursor, Purpose
from workers.api.context import Context

#: A sync run begins with changes this long before the point that the last one reached, because a change may become
#: visible a moment after its time.
OVERLAP = timedelta(minutes=5)

#: The first sync run of a kind without a full backfill begins this far back.
FIRST_LOOK = timedelta(days=1)

#: The kinds of the fleet: few entities, which all others refer to, so they are synced first, and in full every day.
#: That is also how often an entity without notifications is read again.
FLEET = ("location", "charge_point", "evse")

#: The kinds that sessions name, which are synced before the sessions: otherwise each of them would be read by itself.
NAMED_BY_SESSIONS = ("authorization", "cdr")

#: Kinds whose statuses change without a change that the filter of the listing shows, so they are always synced in full:
#: one call for a hundred entities.
WITH_STATUSES = ("charge_point", "evse")


#: The parts of a tenant's sync runs: each has messages of its own, so that statuses do not wait for all other kinds.
Part = Literal["statuses", "others"]


@dataclass(frozen=True, slots=True)
class Due:
    """A sync run that is due.

    Attributes:
        tenant, kind: the listing to compare.
        purpose: backfill or reconcile.
        changed_since: compare only what changed since then; None for the full listing.
    """

    tenant: str
    kind: str
    purpose: Purpose
    changed_since: datetime | None

    @property
    def part(self) -> Part:
        """The part to which it belongs."""
        return "statuses" if self.kind in WITH_STATUSES else "others"


def listed(tenant: Tenant) -> list[str]:
    """Return every kind that is synced for a tenant, in the order in which the kinds are synced."""
    mirrored = kinds_of(tenant.mirror)
    first = (*FLEET, *NAMED_BY_SESSIONS)
    others = [name for name, kind in KINDS.items() if name not in first and kind.has_listing]
    return [name for name in (*first, *others) if name in mirrored]


def due_sync_runs(context: Context, interval: timedelta, tenants: Collection[str] | None = None) -> list[Due]:
    """Return the sync runs that are due, in the order in which they are to be synced.

    Parameters:
        interval: how often what changed is reconciled.
        tenants: return the sync runs of these tenants only, as far as they are configured; None for all tenants.
    """
    names = [name for name in context.tenants if tenants is None or name in tenants]
    with context.engine.begin() as connection:
        cursors = sync_runs.cursors(connection, names)
    now = clock.now()
    runs = [
        _due(tenant, kind, cursors.get((tenant, kind)), interval, now)
        for tenant in names
        for kind in listed(context.tenants[tenant])
    ]
    return [run for run in runs if run is not None]


def _due(tenant: str, name: str, cursor: Cursor | None, interval: timedelta, now: datetime) -> Due | None:
    kind = KINDS[name]
    begins_in_full = name in FLEET or not kind.changed_filters
    if cursor is None or (cursor.changed_until is None and cursor.open_run is None):
        # A backfill, because entities that were never synced do not count as missing.
        return Due(tenant, name, "backfill", None if begins_in_full else now - FIRST_LOOK - kind.changed_margin)
    if cursor.open_run is not None:
        return None if cursor.is_busy else Due(tenant, name, cursor.open_run, None)
    age = cursor.full_seconds_ago
    if begins_in_full if age is None else age > _full_interval(name).total_seconds():
        return Due(tenant, name, "reconcile", None)
    interval = max(interval, kind.changed_every)
    if cursor.checked_seconds_ago is None or cursor.checked_seconds_ago < interval.total_seconds():
        return None
    if not kind.changed_filters and name not in WITH_STATUSES:
        return None
    return Due(tenant, name, "reconcile", since(name, cursor))


def _full_interval(name: str) -> timedelta:
    """Return how often the complete listing of a kind is synced, after the first time."""
    return DAY if name in FLEET else KINDS[name].full_interval


def since(kind: str, cursor: Cursor | None) -> datetime | None:
    """Return since when a reconcile compares changes; None for the full listing."""
    reached = None if cursor is None or kind in WITH_STATUSES else cursor.changed_until
    return (
        None if reached is None or not KINDS[kind].changed_filters else reached - OVERLAP - KINDS[kind].changed_margin
    )
