"""Sweep: send wake-ups again that Redis lost or a killed worker dropped.

Postgres contains the open batches and the due reads; the sweep only wakes workers for them. Several sweeps at the same
time send each batch once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import redis
from dramatiq import Broker
from sqlalchemy import Engine

from runtime.leases import renewed
from runtime.logging import get_logger
from storage.inbox import batches as inbox
from storage.sync import refresh_queue
from workers.api.context import Context
from workers.api.pause import paused_for
from workers.broker import apply_message, reconcile_message, refresh_message
from workers.metrics import SWEPT
from workers.sync.schedule import Part, due_sync_runs

logger = get_logger(__name__)

#: Most wake-ups of one sweep. The actor applies far more than one batch for each, so a few clear a large backlog.
MAX_BATCHES = 50

#: All processes together send a wake-up for the due reads of a tenant at most this often, so that wake-ups do not pile
#: up behind a slow API.
WAKE_INTERVAL_MS = 1_500

#: All processes together send a wake-up for the due sync runs of a tenant at most this often while the last one waits
#: for a thread: each thread may work for another tenant for about this long.
SYNC_RUN_WAKE_INTERVAL_MS = 45_000

#: While a process works on the sync runs of a tenant, it suppresses further wake-ups for so long at a time: if it is
#: killed, another process is woken this soon.
SYNC_RUN_AWAKE_MS = 15_000


def sweep_batches(engine: Engine, broker: Broker, *, age: timedelta) -> int:
    """Send the wake-ups of open batches older than ``age`` again; return their number."""
    with engine.begin() as connection:
        overdue = inbox.overdue(connection, age=age, limit=MAX_BATCHES)
        for batch_id in overdue:
            broker.enqueue(apply_message(batch_id))
    if overdue:
        SWEPT.inc(len(overdue))
        logger.warning("open batches sent again", batches=len(overdue), first_batch=str(overdue[0]))
    return len(overdue)


def wake_apply(context: Context, broker: Broker) -> bool:
    """Send a wake-up if this process could not apply everything since the last call; return whether one was sent.

    The sweep would find the open batches, too, but later.
    """
    try:
        batch_id = context.apply_again.pop()
    except IndexError:
        return False
    broker.enqueue(apply_message(batch_id))
    return True


def wake_refreshes(engine: Engine, broker: Broker, client: redis.Redis) -> int:
    """Send a wake-up for each tenant that has reads due and is not paused; return the number of wake-ups."""
    with engine.begin() as connection:
        tenants = refresh_queue.due_tenants(connection)
    woken = 0
    for tenant in tenants:
        if paused_for(client, tenant):
            continue
        if client.set(f"ampeco-receiver:woken:{tenant}", 1, nx=True, px=WAKE_INTERVAL_MS):
            broker.enqueue(refresh_message(tenant))
            woken += 1
    return woken


def wake_sync_runs(context: Context, broker: Broker, interval: timedelta) -> int:
    """Send a wake-up for each part of a tenant that has sync runs due and is not paused; return their number.

    Parameters:
        interval: how often what changed is reconciled.
    """
    parts = sorted({(due.tenant, due.part) for due in due_sync_runs(context, interval)})
    woken = 0
    for tenant, part in parts:
        if paused_for(context.redis, tenant):
            continue
        if context.redis.set(_sync_run_woken_key(tenant, part), 1, nx=True, px=SYNC_RUN_WAKE_INTERVAL_MS):
            broker.enqueue(reconcile_message(tenant, part))
            woken += 1
    return woken


@contextlib.contextmanager
def awake_for_sync_runs(client: redis.Redis, tenant: str, part: Part) -> Iterator[None]:
    """Suppress further wake-ups for a part of a tenant's sync runs while the block runs."""
    key = _sync_run_woken_key(tenant, part)

    def suppress_wake_ups() -> None:
        client.set(key, 1, px=SYNC_RUN_AWAKE_MS)

    suppress_wake_ups()
    try:
        with renewed(suppress_wake_ups):
            yield
    finally:
        client.delete(key)


def are_sync_runs_awake(client: redis.Redis, tenant: str, part: Part) -> bool:
    """Return whether a worker makes sync runs of a part of a tenant, or was woken for them."""
    return bool(client.exists(_sync_run_woken_key(tenant, part)))


def _sync_run_woken_key(tenant: str, part: Part) -> str:
    return f"ampeco-receiver:sync-run-woken:{part}:{tenant}"
