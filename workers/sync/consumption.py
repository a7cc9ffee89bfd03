"""Read the consumption of finished sessions whose meter values never arrived: their curves of energy and power.

Each tenant's sessions are searched about once an hour, and the sessions that are found are read little by little,
within a small call quota. Where meter values arrive, none is found, and no call is made.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from ampeco.api.client import Client
from ampeco.errors import ApiError, Forbidden, Malformed, NotOffered, RateLimited, Unauthorized, Unavailable
from runtime.logging import get_logger
from storage.clock import clock
from storage.state.changes import ChangeSet
from storage.state.facts import observe_consumption
from storage.sync.consumption_reads import (
    DueRead,
    due_consumption_reads,
    fail_consumption_read,
    finish_consumption_read,
    request_consumption_reads,
)
from storage.sync.inaccessible_kinds import clear_inaccessible, give_trial_back, permission_to_read
from storage.write import write_changes
from workers.api.backoff import is_of_one, note_inaccessible, pause_tenant
from workers.api.context import Context
from workers.api.lease import tenant_lease
from workers.api.pause import paused_for
from workers.api.rate_limit import CallDeferredError
from workers.metrics import CONSUMPTION_READS
from workers.sync.kinds_read import CONSUMPTION

logger = get_logger(__name__)

#: How often a tenant's sessions are searched.
SEARCH_EVERY = timedelta(hours=1)

#: A session is read this long after it stopped: late meter values have arrived by then, and AMPECO has aggregated its
#: own.
READ_AFTER = timedelta(hours=1)

#: Only sessions that started within this time are searched. A session that a sync run finds after an outage of a week
#: is among them.
STARTED_WITHIN = timedelta(days=8)

#: Most sessions of a tenant in one round, so that every tenant is served.
MAX_READS = 20

#: Longest time of a round for one tenant, so that a slow tenant does not delay the others.
TIME_BUDGET_SECONDS = 5.0


def read_consumption(context: Context) -> int:
    """Read some of the sessions of every tenant that are due, as far as the quota allows; return their number."""
    sessions_read = 0
    for name, tenant in context.tenants.items():
        if not tenant.consumption_stats or paused_for(context.redis, name):
            continue
        with tenant_lease(context.redis, name, "consumption") as is_ours:
            if is_ours:
                sessions_read += _read_tenant(context, name)
    return sessions_read


def _read_tenant(context: Context, tenant: str) -> int:
    client = context.client(tenant, "consumption")
    _search(context, client, tenant)
    with context.engine.begin() as connection:
        due_reads = due_consumption_reads(connection, tenant, limit=MAX_READS)
        permission = permission_to_read(connection, tenant, CONSUMPTION) if due_reads else "refused"
    if permission == "refused":
        return 0
    sessions_read, deadline = 0, time.monotonic() + TIME_BUDGET_SECONDS
    for due in due_reads:
        if time.monotonic() >= deadline or not _read_session(context, client, tenant, due):
            break
        if permission == "trial":
            with context.engine.begin() as connection:
                clear_inaccessible(connection, tenant, CONSUMPTION)
            permission = "open"
        sessions_read += 1
    return sessions_read


def _search(context: Context, client: Client, tenant: str) -> None:
    """Request a read of each session without meter values, unless that was done within the hour."""
    stopped_before = client.tenant_time(clock.now()) - READ_AFTER
    # Redis remembers how far the last search came. If it loses that, all sessions of the time are searched again.
    key = f"ampeco-receiver:consumption-searched:{tenant}"
    last = context.redis.get(key)
    last_stopped_before = datetime.fromisoformat(last.decode()) if isinstance(last, bytes) else None
    if last_stopped_before is not None and stopped_before < last_stopped_before + SEARCH_EVERY:
        return
    with context.engine.begin() as connection:
        found = request_consumption_reads(
            connection,
            tenant,
            started_after=stopped_before - STARTED_WITHIN,
            stopped_before=stopped_before,
            last_stopped_before=last_stopped_before,
        )
    context.redis.set(key, stopped_before.isoformat(), ex=STARTED_WITHIN)
    if found:
        logger.info("sessions without meter values found", tenant=tenant, sessions=found)


def _read_session(context: Context, client: Client, tenant: str, due: DueRead) -> bool:
    """Read the consumption of a session; return False if no other session can be read now."""
    try:
        changes, error = _read_points(client, due.session_id)
    except CallDeferredError:
        _give_trial_back(context, tenant)
        return False
    except (Forbidden, NotOffered) as refusal:
        note_inaccessible(context, tenant, CONSUMPTION, refusal)
        return False
    except (RateLimited, Unauthorized) as refusal:
        _give_trial_back(context, tenant)
        pause_tenant(context, tenant, refusal)
        return False
    except ApiError as failure:
        _fail(context, tenant, due, failure)
        if isinstance(failure, Unavailable) and not is_of_one(failure):
            _give_trial_back(context, tenant)
            pause_tenant(context, tenant, failure)
            return False
        return True
    points = sum(map(len, changes.observations.values()))
    with context.engine.begin() as connection:
        write_changes(connection, tenant, changes)
        finish_consumption_read(connection, tenant, due.session_id, points=points, error=error)
    CONSUMPTION_READS.labels(tenant, "points" if points else "empty").inc()
    return True


def _give_trial_back(context: Context, tenant: str) -> None:
    """Let the next read try the endpoint, should it be inaccessible, because this one got no answer about it."""
    with context.engine.begin() as connection:
        give_trial_back(connection, tenant, CONSUMPTION)


def _read_points(client: Client, session_id: int) -> tuple[ChangeSet, str | None]:
    """Return the points of a session that can be read, and why others cannot be, if some cannot."""
    changes = ChangeSet()
    try:
        for answer in client.consumption_stats(session_id):
            observe_consumption(changes, session_id, answer.resource)
    except Malformed as error:
        if not changes.observations:
            raise
        return changes, str(error)
    return changes, None


def _fail(context: Context, tenant: str, due: DueRead, error: ApiError) -> None:
    with context.engine.begin() as connection:
        is_final = fail_consumption_read(connection, tenant, due, str(error))
    CONSUMPTION_READS.labels(tenant, "given_up" if is_final else "failed").inc()
    if is_final:
        logger.warning("consumption of a session given up", tenant=tenant, session_id=due.session_id, error=str(error))
