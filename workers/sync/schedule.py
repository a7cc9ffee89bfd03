"""The schedule of sync runs: when each kind of each tenant is synced, and whether in full or through what changed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from ampeco.resources.kinds import KINDS
from storage.clock import clock
from storage.sync import sync_runs
from storage.sync.sync_runs import Cursor, Purpose
from workers.api.context import Context

#: A sync run begins with changes this long before the point that the last one reached, because a change may become
#: visible a moment after its time.
OVERLAP = timedelta(minutes=5)

#: The first sync run of a kind without a full backfill begins this far back.
FIRST_LOOK = timedelta(days=1)

#: The kinds of the fleet: few entities, which all others refer to, so they are synced first.
FLEET = ("location", "charge_point", "evse")

#: Kinds whose statuses change without a change that the filter of the listing shows, so they are always synced in full:
#: one call for a hundred entities.
WITH_STATUSES = ("charge_point", "evse")

#: Interval of full sync runs for the fleet and short listings, which change slowly. It is also how often an entity
#: without notifications is read again.
DAILY = timedelta(days=1)

#: Kinds with short listings that cannot be filtered by change: they are synced in full, like the fleet.
SHORT = ("tariff", "roaming_platform", "sub_operator")

#: Interval of full sync runs for the other kinds, to notice deletions. They begin only after a full backfill.
RARELY = timedelta(days=30)


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


#: The kinds that sessions name, which are synced before the sessions: otherwise each of them would be read by itself.
NAMED_BY_SESSIONS = ("authorization", "cdr")


def listed() -> list[str]:
    """Return every kind, in the order in which the kinds are synced."""
    first = (*FLEET, *NAMED_BY_SESSIONS)
    return [*first, *(kind for kind in KINDS if kind not in first)]


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
    runs = [_due(tenant, kind, cursors.get((tenant, kind)), interval, now) for tenant in names for kind in listed()]
    return [run for run in runs if run is not None]


def _due(tenant: str, kind: str, cursor: Cursor | None, interval: timedelta, now: datetime) -> Due | None:
    is_daily = kind in FLEET or kind in SHORT
    if cursor is None or (cursor.changed_until is None and cursor.open_run is None):
        if not is_daily and not KINDS[kind].changed_filters:
            return None
        # A backfill, because entities that were never synced do not count as missing.
        return Due(tenant, kind, "backfill", None if is_daily else now - FIRST_LOOK - KINDS[kind].changed_margin)
    if cursor.open_run is not None:
        return None if cursor.is_busy else Due(tenant, kind, cursor.open_run, None)
    age, longest = cursor.full_seconds_ago, DAILY if is_daily else RARELY
    if (age is None and is_daily) or (age is not None and age > longest.total_seconds()):
        return Due(tenant, kind, "reconcile", None)
    if cursor.checked_seconds_ago is None or cursor.checked_seconds_ago < interval.total_seconds():
        return None
    if not KINDS[kind].changed_filters and kind not in WITH_STATUSES:
        return None
    return Due(tenant, kind, "reconcile", since(kind, cursor))


def since(kind: str, cursor: Cursor | None) -> datetime | None:
    """Return since when a reconcile compares changes; None for the full listing."""
    reached = None if cursor is None or kind in WITH_STATUSES else cursor.changed_until
    return (
        None if reached is None or not KINDS[kind].changed_filters else reached - OVERLAP - KINDS[kind].changed_margin
    )
