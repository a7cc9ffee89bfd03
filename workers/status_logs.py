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
from ampeco.errors import ApiError, RateLimited, Unauthorised, Unavailable
from storage.clock import clock
from storage.findings import Findings
from storage.forgotten import withhold
from storage.known import known
from storage.status_logs import DueLog, due_logs
from storage.write import write_changes
from workers.backoff import hold_back, is_of_one
from workers.budget import HeldBackError
from workers.context import Context
from workers.logs import get_logger
from workers.pause import paused_for
from workers.statuses import LOGS, StatusLog, log_findings, nothing_found

logger = get_logger(__name__)

#: A status that changes is looked for in the log this often. One call tells of all that was missed meanwhile.
LOOK_EVERY = timedelta(hours=1)

#: Logs that one round reads at most, so that every tenant has its turn.
MOST_LOGS = 20

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
        except HeldBackError:
            break
        except (RateLimited, Unauthorised, Unavailable) as error:
            hold_back(context, tenant, error)
            break
        looked += 1
    return looked


def _due(context: Context, client: Client, tenant: str) -> list[tuple[StatusLog, DueLog]]:
    looked_before = client.tenant_time(clock.now()) - LOOK_EVERY
    found = []
    with context.engine.begin() as connection:
        for log in LOGS:
            due = due_logs(connection, tenant, log.entity, log.status, looked_before=looked_before, most=MOST_LOGS)
            found += [(log, one) for one in due]
    return heapq.nsmallest(MOST_LOGS, found, key=_urgency)


def _urgency(found: tuple[StatusLog, DueLog]) -> tuple[bool, float]:
    _, due = found
    return due.is_explained, due.looked_at.timestamp() if due.looked_at else float("-inf")


def _read_log(context: Context, client: Client, tenant: str, log: StatusLog, entity_id: int) -> None:
    with context.engine.begin() as connection:
        stored = known(connection, tenant, log.entity, [entity_id])[entity_id]
    try:
        found = log_findings(log, client, entity_id, stored)
    except ApiError as error:
        if isinstance(error, RateLimited | Unauthorised | Unavailable) and not is_of_one(error):
            raise
        # It is not to be asked for all the time: what it would have told stays uncovered.
        logger.warning(
            "status log cannot be read", tenant=tenant, entity=log.entity, entity_id=entity_id, error=str(error)
        )
        found = nothing_found(log, client, entity_id, stored)
    _store(context, tenant, found)


def _store(context: Context, tenant: str, found: Findings) -> None:
    with context.engine.begin() as connection:
        withhold(connection, tenant, [found])
        write_changes(connection, tenant, found, skip_confirmed=True)
