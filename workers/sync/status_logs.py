"""Read status logs little by little: they show statuses whose notification was lost without any other trace.

Each tenant's status logs have a small call quota of their own. Logs are read first if a read showed a status without a
notification, and no call was left to read the log then; after them those whose status changed since the log was read,
the least recently read first.
"""

from __future__ import annotations

import heapq
import time
from datetime import timedelta

from ampeco.api.client import Client
from ampeco.errors import ApiError, RateLimited, Unauthorized, Unavailable
from runtime.logging import get_logger
from storage.clock import clock
from storage.erasure.suppression import remove_suppressed_from_changes
from storage.state.changes import ChangeSet
from storage.state.stored import load_stored
from storage.sync.status_logs import DueLog, due_logs
from storage.write import write_changes
from workers.api.backoff import is_of_one, pause_tenant
from workers.api.context import Context
from workers.api.lease import tenant_lease
from workers.api.pause import paused_for
from workers.api.rate_limit import CallDeferredError
from workers.sync.statuses import LOGS, StatusLog, changes_from_log, changes_without_log

logger = get_logger(__name__)

#: How often the log of a changing status is read. One call returns everything that was missed since the last one.
LOOK_EVERY = timedelta(hours=1)

#: Most logs of a tenant in one round, so that every tenant is served.
MAX_LOGS = 20

#: Longest time of a round for one tenant, so that a slow tenant does not delay the others.
TIME_BUDGET_SECONDS = 5.0


def read_status_logs(context: Context) -> int:
    """Read some of the status logs of every tenant that are due, as far as the quota allows; return their number."""
    logs_read = 0
    for tenant in context.tenants:
        if paused_for(context.redis, tenant):
            continue
        with tenant_lease(context.redis, tenant, "status-logs") as is_ours:
            if is_ours:
                logs_read += _read_logs(context, tenant)
    return logs_read


def _read_logs(context: Context, tenant: str) -> int:
    client = context.client(tenant, "status_log")
    logs_read, deadline = 0, time.monotonic() + TIME_BUDGET_SECONDS
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
        logs_read += 1
    return logs_read


def _due(context: Context, client: Client, tenant: str) -> list[tuple[StatusLog, DueLog]]:
    looked_before = client.tenant_time(clock.now()) - LOOK_EVERY
    logs = []
    with context.engine.begin() as connection:
        for log in LOGS:
            due = due_logs(connection, tenant, log.kind, log.status, looked_before=looked_before, limit=MAX_LOGS)
            logs += [(log, due_log) for due_log in due]
    return heapq.nsmallest(MAX_LOGS, logs, key=_urgency)


def _urgency(log: tuple[StatusLog, DueLog]) -> tuple[bool, float]:
    _, due = log
    return due.is_explained, due.looked_at.timestamp() if due.looked_at else float("-inf")


def _read_log(context: Context, client: Client, tenant: str, log: StatusLog, entity_id: int) -> None:
    with context.engine.begin() as connection:
        stored = load_stored(connection, tenant, log.kind, [entity_id])[entity_id]
    try:
        changes = changes_from_log(log, client, entity_id, stored)
    except ApiError as error:
        if isinstance(error, RateLimited | Unauthorized | Unavailable) and not is_of_one(error):
            raise
        # The log counts as read, so that it is not read again at once; the time since the last read stays uncovered.
        logger.warning("status log cannot be read", tenant=tenant, kind=log.kind, entity_id=entity_id, error=str(error))
        changes = changes_without_log(log, client, entity_id, stored)
    _store(context, tenant, changes)


def _store(context: Context, tenant: str, changes: ChangeSet) -> None:
    with context.engine.begin() as connection:
        remove_suppressed_from_changes(connection, tenant, [changes])
        write_changes(connection, tenant, changes, skip_confirmed=True)
