"""When each kind of each tenant is synced, and whether through everything or through what changed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from ampeco.kinds import KINDS
from storage import sync_runs
from storage.clock import clock
from storage.sync_runs import Cursor, Purpose
from workers.context import Context

#: A listing is asked for what changed this long before the point that the last sync run reached,
#: as a change may become visible a moment after its time.
OVERLAP = timedelta(minutes=5)

#: The first look at a kind without a backfill goes back this far.
FIRST_LOOK = timedelta(days=1)

#: The kinds that make up the fleet: few, and what all others refer to, so they go first.
FLEET = ("location", "charge_point", "evse")

#: Their statuses change without a change of theirs that a listing would tell, so they are always
#: synced whole: a call for a hundred of them.
WITH_STATUSES = ("charge_point", "evse")

#: Slow-changing ones are synced whole once a day without being asked to: that is also how
#: often one that nobody speaks of is read again.
DAILY = timedelta(days=1)

#: Short listings that do not tell what changed: they are synced whole, as the fleet is.
SHORT = ("tariff", "roaming_platform", "sub_operator")

#: The others are synced whole, to notice deletions, only after a backfill, and more rarely.
RARELY = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Due:
    """A sync run that is due: the whole listing where ``changed_since`` is None."""

    tenant: str
    kind: str
    purpose: Purpose
    changed_since: datetime | None


def listed() -> list[str]:
    """Every kind, in the order in which they are synced."""
    others = [kind for kind in KINDS if kind not in FLEET]
    return [*FLEET, *others]


def due_sync_runs(context: Context, interval: timedelta, tenants: Collection[str] | None = None) -> list[Due]:
    """Return the sync runs that are due, in the order in which they are to be synced.

    Parameters:
        interval: how often what changed is reconciled.
        tenants: look at these alone, as far as they are configured; None for every configured one.
    """
    wanted = [name for name in context.tenants if tenants is None or name in tenants]
    with context.engine.begin() as connection:
        cursors = sync_runs.cursors(connection, wanted)
    now = clock.now()
    found = [_due(tenant, kind, cursors.get((tenant, kind)), interval, now) for tenant in wanted for kind in listed()]
    return [due for due in found if due is not None]


def _due(tenant: str, kind: str, cursor: Cursor | None, interval: timedelta, now: datetime) -> Due | None:
    is_daily = kind in FLEET or kind in SHORT
    if cursor is None or (cursor.changed_until is None and cursor.open_run is None):
        if not is_daily and KINDS[kind].changed_since is None:
            return None
        # A backfill: nobody can have missed what nobody has looked at before.
        return Due(tenant, kind, "backfill", None if is_daily else now - FIRST_LOOK)
    if cursor.open_run is not None:
        return None if cursor.is_busy else Due(tenant, kind, cursor.open_run, None)
    age, longest = cursor.full_seconds_ago, DAILY if is_daily else RARELY
    if (age is None and is_daily) or (age is not None and age > longest.total_seconds()):
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
