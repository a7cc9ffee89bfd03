"""Sweep: what Redis lost or a killed worker dropped is sent again.

Postgres knows which batches are open and which reads are due; the sweep only wakes
somebody up for them. Several sweeps side by side send each batch once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import redis
from dramatiq import Broker
from sqlalchemy import Engine

from storage import batches as inbox
from storage import refresh_queue
from workers.broker import apply_message, reconcile_message, refresh_message
from workers.context import Context
from workers.leases import renewed
from workers.logs import get_logger
from workers.metrics import SWEPT
from workers.pause import paused_for
from workers.sync_schedule import due_sync_runs

logger = get_logger(__name__)

#: Each message takes up far more than one batch, so few messages clear a large backlog.
MAX_BATCHES = 50

#: A tenant with reads due is woken at most this often by all processes together, so that
#: wake-ups do not pile up behind a slow API.
WAKE_INTERVAL_MS = 1_500

#: A tenant with sync runs due is woken at most this often while its wake-up waits for a thread: each thread
#: may be at work for another tenant for about this long.
SYNC_RUN_WAKE_INTERVAL_MS = 45_000

#: While a process works on the sync runs of a tenant, it keeps further wake-ups away, for so long at a time: if
#: it is killed, another one is woken this soon.
SYNC_RUN_AWAKE_MS = 15_000


def sweep_batches(engine: Engine, broker: Broker, *, age: timedelta) -> int:
    """Send open batches older than ``age`` again; returns how many."""
    with engine.begin() as connection:
        overdue = inbox.overdue(connection, age=age, limit=MAX_BATCHES)
        for batch_id in overdue:
            broker.enqueue(apply_message(batch_id))
    if overdue:
        SWEPT.inc(len(overdue))
        logger.warning("open batches sent again", batches=len(overdue), first_batch=str(overdue[0]))
    return len(overdue)


def wake_apply(context: Context, broker: Broker) -> bool:
    """Wake a worker where one of this process could not apply all since the last call; returns whether it did.

    The sweep would find what is open, too, but later.
    """
    try:
        batch_id = context.apply_again.pop()
    except IndexError:
        return False
    broker.enqueue(apply_message(batch_id))
    return True


def wake_refreshes(engine: Engine, broker: Broker, client: redis.Redis) -> int:
    """Wake the readers of each tenant that has reads due and is not paused; returns how many."""
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
    """Wake somebody for each tenant that has sync runs due and is not paused; returns how many tenants.

    Parameters:
        interval: how often what changed is reconciled.
    """
    tenants = sorted({due.tenant for due in due_sync_runs(context, interval)})
    woken = 0
    for tenant in tenants:
        if paused_for(context.redis, tenant):
            continue
        if context.redis.set(_sync_run_woken_key(tenant), 1, nx=True, px=SYNC_RUN_WAKE_INTERVAL_MS):
            broker.enqueue(reconcile_message(tenant))
            woken += 1
    return woken


@contextlib.contextmanager
def awake_for_sync_runs(client: redis.Redis, tenant: str) -> Iterator[None]:
    """Keep other wake-ups for a tenant's sync runs away while the block runs."""
    key = _sync_run_woken_key(tenant)

    def keep_away() -> None:
        client.set(key, 1, px=SYNC_RUN_AWAKE_MS)

    keep_away()
    try:
        with renewed(keep_away):
            yield
    finally:
        client.delete(key)


def _sync_run_woken_key(tenant: str) -> str:
    return f"ampeco-receiver:sync-run-woken:{tenant}"
