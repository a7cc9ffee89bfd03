"""Refresh: read from the API what the database does not know, or knows only in part.

Any number of marks of one entity cost one read, and many marks of one kind cost the pages
of one listing. A tenant that is down, refuses the token or asks for a pause holds up its
own reads alone.
"""

from __future__ import annotations

import time
from datetime import timedelta

from ampeco.errors import Forbidden, RateLimited, Unauthorized, Unavailable
from storage import forbidden_kinds, refresh_queue
from storage.clock import clock
from storage.forbidden_kinds import Permission
from storage.stored import load_stored
from workers.backoff import note_forbidden, pause_tenant
from workers.claimed_reads import MAX_RETRY, ClaimedReads, give_back
from workers.context import Context
from workers.rate_limit import CallDeferredError
from workers.refresh_reader import RefreshReader, was_synced

#: What one listing can be hoped to show; a killed worker holds back no more until its leases run out.
MAX_REQUESTS = 500

#: So many unknown ones of a kind that was never synced: its sync run, which is due, shows them all
#: for a call a hundred, so they wait for it.
MIN_FOR_A_SYNC_RUN = 10
SYNC_RUN_DELAY = timedelta(seconds=30)

#: Longer than this nothing waits for a sync run: perhaps no process runs any.
SYNC_RUN_PATIENCE = timedelta(minutes=15)

#: Short, so that a tenant with much to read shares the threads with the others.
TIME_BUDGET_SECONDS = 5.0


def refresh_tenant(context: Context, tenant: str) -> int:
    """Read what is due of one tenant, until nothing is, it is held back, or the time budget is spent.

    Returns:
        How many requests were resolved.
    """
    with context.concurrency_slot(tenant) as granted:
        if not granted:
            return 0
        deadline = time.monotonic() + TIME_BUDGET_SECONDS
        resolved = 0
        while time.monotonic() < deadline:
            with context.engine.begin() as connection:
                requests = refresh_queue.claim(connection, tenant, limit=MAX_REQUESTS, holder=context.process_id)
            if not requests:
                break
            claimed = ClaimedReads(context, tenant, requests)
            try:
                _read(claimed, deadline)
            except BaseException as error:
                give_back(context, tenant, requests, error)
                raise
            resolved += claimed.resolved
            if claimed.were_left:
                break
        return resolved


def _read(claimed: ClaimedReads, deadline: float) -> None:
    """Resolve claimed reads by what is stored, by a listing or one by one; what stays open is left for later."""
    context, tenant = claimed.context, claimed.tenant
    try:
        client = context.client(tenant, "refresh")
    except KeyError:
        claimed.leave(MAX_RETRY, "the tenant is no longer in tenants.toml", counts=True)
        return
    _resolve_by_stored(claimed)
    _await_sync_run(claimed)
    permission = _permission_to_read(claimed)
    reader = RefreshReader(claimed, client, is_trial=permission == "trial", deadline=deadline)
    if permission == "refused":
        claimed.leave_kind()
    try:
        reader.read_listing()
        while claimed.open and time.monotonic() < deadline:
            reader.read_one(next(iter(claimed.open.values())))
        claimed.leave(timedelta(0), None, counts=False)
    except Forbidden as error:
        note_forbidden(context, tenant, claimed.kind, error)
        claimed.leave_kind()
    except CallDeferredError as held:
        # No trouble of these reads: `status` shows a pause, and a pace is no trouble at all.
        claimed.leave(timedelta(seconds=held.seconds), None, counts=False)
    except (RateLimited, Unauthorized, Unavailable) as error:
        # It speaks for the whole tenant: leave the rest of what we claimed, too.
        seconds = pause_tenant(context, tenant, error)
        claimed.leave(timedelta(seconds=seconds), str(error), counts=False)
    context.usage.saved(tenant, "refresh", claimed.requests - reader.calls)


def _resolve_by_stored(claimed: ClaimedReads) -> None:
    """End the reads that a complete snapshot has superseded."""
    superseded = [request for request in claimed.open.values() if request.reason in ("unknown", "provisional")]
    if not superseded:
        return
    with claimed.context.engine.begin() as connection:
        stored = load_stored(connection, claimed.tenant, claimed.kind, [request.entity_id for request in superseded])
        done = [request for request in superseded if stored[request.entity_id].is_complete]
        refresh_queue.finish(connection, claimed.tenant, done)
    claimed.note_resolved(done)


def _await_sync_run(claimed: ClaimedReads) -> None:
    """Leave what the first sync run through the kind's listing will show."""
    since = clock.now() - SYNC_RUN_PATIENCE
    unknown = [
        request for request in claimed.open.values() if request.reason == "unknown" and request.requested_at > since
    ]
    if len(unknown) < MIN_FOR_A_SYNC_RUN:
        return
    with claimed.context.engine.begin() as connection:
        if was_synced(connection, claimed):
            return
    claimed.postpone(unknown, SYNC_RUN_DELAY, None, counts=False)


def _permission_to_read(claimed: ClaimedReads) -> Permission:
    """Whether the kind may be read, as far as is known; a refused one is tried once an hour."""
    with claimed.context.engine.begin() as connection:
        return forbidden_kinds.permission_to_read(connection, claimed.tenant, claimed.kind)
