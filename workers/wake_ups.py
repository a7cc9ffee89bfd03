"""Sweep: wake workers for what Postgres says is to be done, also if Redis lost a wake-up or a killed worker dropped it.

Postgres contains the open batches, the due reads and sync runs, and the marks; a wake-up only names them. Several
sweeps at the same time send each batch once, and one wake-up for all other work of a kind of a tenant.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from sqlalchemy import Engine

from analytics.derive import due_tenants
from runtime.leases import renewed
from runtime.logging import get_logger
from storage.inbox import batches as inbox
from storage.sync import refresh_queue
from workers.api.context import Context
from workers.api.pause import paused_for
from workers.broker import APPLY_QUEUE, apply_message, derive_message, has_enough, reconcile_message, refresh_message
from workers.derive import is_resting
from workers.metrics import SWEPT
from workers.sync.schedule import Part, due_sync_runs

logger = get_logger(__name__)

#: Most wake-ups of one sweep. The actor applies far more than one batch for each, so a few clear a large backlog.
MAX_BATCHES = 50

#: All processes together send a wake-up for the due reads of a tenant at most this often, so that wake-ups do not pile
#: up behind a slow API.
REFRESH_WAKE_INTERVAL_MS = 1_500

#: All processes together send a wake-up for the due sync runs of a tenant at most this often while the last one waits
#: for a thread: each thread may work for another tenant for about this long.
SYNC_RUN_WAKE_INTERVAL_MS = 45_000

#: While a process works on the sync runs of a tenant, it suppresses further wake-ups for so long at a time: if it is
#: killed, another process is woken this soon.
SYNC_RUN_AWAKE_MS = 15_000

#: All processes together send a wake-up for what is to be derived for a tenant at most this often.
DERIVE_WAKE_INTERVAL_MS = 400

#: Without any mark, a tenant is derived this often: periods without a receiver begin and end without one.
DERIVE_IDLE = timedelta(seconds=20)


def sweep_batches(engine: Engine, broker: RedisBroker, *, age: timedelta) -> int:
    """Send the wake-ups of open batches older than ``age`` again, if the queue has room; return their number."""
    if has_enough(broker, APPLY_QUEUE):
        return 0
    with engine.begin() as connection:
        overdue = inbox.overdue(connection, age=age, limit=MAX_BATCHES)
        for batch_id in overdue:
            broker.enqueue(apply_message(batch_id))
    if overdue:
        SWEPT.inc(len(overdue))
        logger.warning("open batches sent again", batches=len(overdue), first_batch=str(overdue[0]))
    return len(overdue)


def wake_apply(context: Context, broker: RedisBroker) -> bool:
    """Send a wake-up if this process could not apply everything since the last call; return whether one was sent.

    The sweep would find the open batches, too, but later.
    """
    try:
        batch_id = context.apply_again.pop()
    except IndexError:
        return False
    broker.enqueue(apply_message(batch_id))
    return True


def wake_refreshes(context: Context, broker: RedisBroker) -> int:
    """Send a wake-up for each tenant that has reads due and is not paused; return the number of wake-ups."""
    with context.engine.begin() as connection:
        tenants = refresh_queue.due_tenants(connection)
    messages = {
        f"ampeco-receiver:woken:{tenant}": refresh_message(tenant)
        for tenant in tenants
        if not paused_for(context.redis, tenant)
    }
    return _send(messages, context, broker, REFRESH_WAKE_INTERVAL_MS)


def wake_sync_runs(context: Context, broker: RedisBroker, interval: timedelta) -> int:
    """Send a wake-up for each part of a tenant that has sync runs due and is not paused; return their number.

    Parameters:
        interval: how often what changed is reconciled.
    """
    parts = sorted({(due.tenant, due.part) for due in due_sync_runs(context, interval)})
    messages = {
        _sync_run_woken_key(tenant, part): reconcile_message(tenant, part)
        for tenant, part in parts
        if not paused_for(context.redis, tenant)
    }
    return _send(messages, context, broker, SYNC_RUN_WAKE_INTERVAL_MS)


def wake_derivations(context: Context, broker: RedisBroker) -> int:
    """Send a wake-up for each tenant for which something is to be derived; return the number of wake-ups."""
    with context.engine.begin() as connection:
        tenants = due_tenants(connection, list(context.tenants), idle=DERIVE_IDLE)
    messages = {
        f"ampeco-receiver:derive-woken:{tenant}": derive_message(tenant)
        for tenant in tenants
        if not is_resting(context, tenant)
    }
    return _send(messages, context, broker, DERIVE_WAKE_INTERVAL_MS)


def _send(messages: Mapping[str, Message[Any]], context: Context, broker: RedisBroker, interval_ms: int) -> int:
    """Send each message unless a process has sent it within the interval; return the number of messages sent.

    Parameters:
        messages: the messages, each by the key of Redis that exists during the interval.
    """
    sent = 0
    # In a random order, so that no tenant is always among those for which the queue has no room.
    for key, message in random.sample(list(messages.items()), len(messages)):
        if has_enough(broker, message.queue_name):
            break
        if context.redis.set(key, 1, nx=True, px=interval_ms):
            broker.enqueue(message)
            sent += 1
    return sent


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
