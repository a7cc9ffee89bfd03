"""Refresh: read the requested entities from the API.

Any number of requests of one entity cost one read, and many requests of one kind cost the pages of one listing. If a
tenant is down, rejects the token or answers 429, only its own reads wait.
"""

from __future__ import annotations

import time
from datetime import timedelta

from ampeco.errors import Forbidden, NotOffered, RateLimited, Unauthorized, Unavailable
from ampeco.resources.kinds import kinds_of
from storage.clock import clock
from storage.state.stored import load_stored
from storage.sync import backfills, inaccessible_kinds, refresh_queue
from storage.sync.inaccessible_kinds import Permission
from workers.api.backoff import note_inaccessible, pause_tenant
from workers.api.context import Context
from workers.api.rate_limit import CallDeferredError
from workers.sync.claimed_reads import MAX_RETRY, ClaimedReads, release_claimed
from workers.sync.refresh_reader import RefreshReader, was_synced

#: Most requests that are claimed together: about as many as one listing can resolve. If a worker is killed, no more
#: than these wait until their leases run out.
MAX_REQUESTS = 500

#: If so many unknown entities of a kind are requested, and a sync run is about to list the kind, they wait for it,
#: because it reads a hundred entities with one call. The delay is the time until they are tried again.
MIN_FOR_A_SYNC_RUN = 10
SYNC_RUN_DELAY = timedelta(seconds=30)

#: Requests older than this do not wait for a sync run: perhaps no process makes sync runs. Those that a backfill itself
#: makes wait for as long as it advances.
SYNC_RUN_PATIENCE = timedelta(minutes=15)

#: How long one message reads: short, so that a tenant with many requests shares the threads with the others.
TIME_BUDGET_SECONDS = 5.0


def refresh_tenant(context: Context, tenant: str) -> int:
    """Read the requested entities of one tenant until none is due, calls are deferred, or the time budget is spent.

    Returns:
        The number of entities whose requests were resolved.
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
                release_claimed(context, tenant, requests, error)
                raise
            resolved += claimed.resolved
            if claimed.were_left:
                break
        return resolved


def _read(claimed: ClaimedReads, deadline: float) -> None:
    """Resolve claimed requests from stored entities, by a listing, or one by one; postpone those that stay open."""
    context, tenant = claimed.context, claimed.tenant
    try:
        client = context.client(tenant, "refresh")
    except KeyError:
        claimed.leave(MAX_RETRY, "the tenant is no longer in tenants.toml", counts=True)
        return
    if claimed.kind not in kinds_of(context.tenants[tenant].mirror):
        claimed.drop()  # a notification names entities of every kind
        return
    _resolve_by_stored(claimed)
    _await_sync_run(claimed)
    # Without a read to make, there is nothing that a trial could show.
    permission: Permission = _permission_to_read(claimed) if claimed.open else "open"
    reader = RefreshReader(claimed, client, is_trial=permission == "trial", deadline=deadline)
    if permission == "refused":
        claimed.leave_kind()
    try:
        reader.read_listings()
        while claimed.open and time.monotonic() < deadline:
            reader.read_one(next(iter(claimed.open.values())))
        claimed.leave(timedelta(0), None, counts=False)
    except (Forbidden, NotOffered) as error:
        note_inaccessible(context, tenant, claimed.kind, error)
        claimed.leave_kind()
    except CallDeferredError as deferred:
        _give_trial_back(claimed, permission)
        # No error is recorded with the requests: `status` shows a pause, and a full rate limit is normal.
        claimed.leave(timedelta(seconds=deferred.seconds), None, counts=False)
    except (RateLimited, Unauthorized, Unavailable) as error:
        _give_trial_back(claimed, permission)
        # The answer concerns the whole tenant, so the other claimed requests are postponed, too.
        seconds = pause_tenant(context, tenant, error)
        claimed.leave(timedelta(seconds=seconds), str(error), counts=False)
    context.usage.saved(tenant, "refresh", claimed.requests - reader.calls)


def _resolve_by_stored(claimed: ClaimedReads) -> None:
    """Resolve the requests of entities that are complete in the meantime."""
    candidates = [request for request in claimed.open.values() if request.reason in ("unknown", "provisional")]
    if not candidates:
        return
    with claimed.context.engine.begin() as connection:
        stored = load_stored(connection, claimed.tenant, claimed.kind, [request.entity_id for request in candidates])
        superseded = [request for request in candidates if stored[request.entity_id].is_complete]
        refresh_queue.finish(connection, claimed.tenant, superseded)
    claimed.note_resolved(superseded)


def _await_sync_run(claimed: ClaimedReads) -> None:
    """Postpone requests that a sync run of the kind will resolve: its first one, or one that is under way."""
    unknown = [request for request in claimed.open.values() if request.reason == "unknown"]
    if len(unknown) < MIN_FOR_A_SYNC_RUN:
        return
    since = clock.now() - SYNC_RUN_PATIENCE
    with claimed.context.engine.begin() as connection:
        will_be_listed = backfills.will_list(connection, claimed.tenant, claimed.kind)
        if not will_be_listed and was_synced(connection, claimed):
            return
    patient = [
        request
        for request in unknown
        if request.requested_at > since or (will_be_listed and request.requested_by is None)
    ]
    claimed.postpone(patient, SYNC_RUN_DELAY, None, counts=False)


def _permission_to_read(claimed: ClaimedReads) -> Permission:
    """Return whether the kind may be read, as far as is known; an inaccessible kind is tried now and then."""
    with claimed.context.engine.begin() as connection:
        return inaccessible_kinds.permission_to_read(connection, claimed.tenant, claimed.kind)


def _give_trial_back(claimed: ClaimedReads, permission: Permission) -> None:
    """Let the next read try an inaccessible kind, because this one got no answer about it."""
    if permission == "trial":
        with claimed.context.engine.begin() as connection:
            inaccessible_kinds.give_trial_back(connection, claimed.tenant, claimed.kind)
