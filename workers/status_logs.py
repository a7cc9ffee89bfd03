"""Status logs, read little by little: a notification that was lost is in the log, though nothing shows that it was.

Each tenant's logs have a small share of its calls to themselves. First come those where a read showed a status
that nothing had announced, and no call was left to look for it; then those whose status changed since
their last look, the longest ago first.
"""

from __future__ import annotations

import heapq
import time
from datetime import timedelta

from ampeco.client import Client
from ampeco.errors import ApiError, RateLimited, Unauthorized, Unavailable
from storage.changes import ChangeSet
from storage.clock import clock
from storage.status_logs import DueLog, due_logs
from storage.stored import load_stored
from storage.suppression import remove_suppressed_from_changes
from storage.write import write_changes
from workers.backoff import is_of_one, pause_tenant
from workers.context import Context
from workers.logs import get_logger
from workers.pause import paused_for
from workers.rate_limit import CallDeferredError
from workers.statuses import LOGS, StatusLog, changes_from_log, changes_without_log

logger = get_logger(__name__)

#: A status that changes is looked for in the log this often. One call tells of all that was missed meanwhile.
LOOK_EVERY = timedelta(hours=1)

#: Logs that one round reads at most, so that every tenant has its turn.
MAX_LOGS = 20

#: A round at a slow tenant ends then, so that the others have their turn.
TIME_BUDGET_SECONDS = 5.0

#: One process at a time reads a tenant's logs; one that is killed keeps others from it for so long.
LEASE_MS = 120_000


def read_status_logs(context: Context) -> int:
    """Read some of the logs that are due of every tenant, as far as their calls allow; returns how many."""
    looked = 0
    for tenant in context.tenants:
        lease = f"ampeco-receiver:status-logs:{tenant}"
        if paused_for(context.redis, tenant) or not context.redis.set(lease, 1, nx=True, px=LEASE_MS):
            continue
        try:
            looked += _read_logs(context, tenant)
        finally:
            context.redis.delete(lease)
    return looked


def _read_logs(context: Context, tenant: str) -> int:
    client = context.client(tenant, "status_log")
    looked, deadline = 0, time.monotonic() + TIME_BUDGET_SECONDS
    for log, due in _due(context, client, tenant):
        if time.monotonic() >= deadline:
            break
        try:
            _read_log(context, client, tenant, log, due.entity_id)
        except CallDeferredError:
            break
        except (RateLimited, Unauthorized, Unavailable) as error:
            pause_tenant(context, tenant, error)
            break
        looked += 1
    return looked


def _due(context: Context, client: Client, tenant: str) -> list[tuple[StatusLog, DueLog]]:
    looked_before = client.tenant_time(clock.now()) - LOOK_EVERY
    found = []
    with context.engine.begin() as connection:
        for log in LOGS:
            due = due_logs(connection, tenant, log.kind, log.status, looked_before=looked_before, limit=MAX_LOGS)
            found += [(log, one) for one in due]
    return heapq.nsmallest(MAX_LOGS, found, key=_urgency)


def _urgency(found: tuple[StatusLog, DueLog]) -> tuple[bool, float]:
    _, due = found
    return due.is_explained, due.looked_at.timestamp() if due.looked_at else float("-inf")


def _read_log(context: Context, client: Client, tenant: str, log: StatusLog, entity_id: int) -> None:
    with context.engine.begin() as connection:
        stored = load_stored(connection, tenant, log.kind, [entity_id])[entity_id]
    try:
        found = changes_from_log(log, client, entity_id, stored)
    except ApiError as error:
        if isinstance(error, RateLimited | Unauthorized | Unavailable) and not is_of_one(error):
            raise
        # It is not to be asked for all the time: what it would have told stays uncovered.
        logger.warning("status log cannot be read", tenant=tenant, kind=log.kind, entity_id=entity_id, error=str(error))
        found = changes_without_log(log, client, entity_id, stored)
    _store(context, tenant, found)


def _store(context: Context, tenant: str, found: ChangeSet) -> None:
    with context.engine.begin() as connection:
        remove_suppressed_from_changes(connection, tenant, [found])
        write_changes(connection, tenant, found, skip_confirmed=True)
