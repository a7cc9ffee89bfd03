"""Derive: keep the tables of the schema ``analytics`` up to date with what other work has written."""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta

from redis.exceptions import RedisError

from analytics.derive import derive_round
from runtime.logging import get_logger
from storage.inbox import batches
from workers.api.context import Context
from workers.metrics import DERIVED_CHANGES, DERIVED_LAG

logger = get_logger(__name__)

#: How long one message derives; the next one continues, so that tenants with a backlog share the threads.
TIME_BUDGET_SECONDS = 5.0

#: If notifications have waited for longer than this to be applied, deriving waits for them, for up to PATIENCE_SECONDS
#: in a message: what is derived before them is derived again, and both need the same processor.
MAX_APPLY_DELAY = timedelta(seconds=3)
PATIENCE_SECONDS = 2.0
PATIENCE_STEP_SECONDS = 0.1

#: Some entities change all the time, so it is cheaper to derive several changes of them at once. If a round took more
#: than MARKS_PER_ENTITY marks for each entity and new marks are waiting, the tenant rests for REST_FACTOR times the
#: length of the round, at most MAX_REST_SECONDS, and then until a wake-up. A round that hit its limit has a backlog, so
#: the next one follows at once.
MARKS_PER_ENTITY = 1.5
REST_FACTOR = 2.0
MAX_REST_SECONDS = 0.8


def derive_tenant(context: Context, tenant: str) -> int:
    """Derive what is marked for a tenant until the time budget is spent; return how many rows changed."""
    deadline = time.monotonic() + TIME_BUDGET_SECONDS
    patient_until = time.monotonic() + PATIENCE_SECONDS
    changes = 0
    while time.monotonic() < deadline:
        _let_apply_go_first(context, tenant, patient_until)
        if is_resting(context, tenant):
            break
        began = time.monotonic()
        done = derive_round(context.engine, tenant)
        if done is None:
            break
        changes += done.changes
        DERIVED_CHANGES.labels(tenant).inc(done.changes)
        if done.lag is not None:
            DERIVED_LAG.labels(tenant).observe(done.lag.total_seconds() + time.monotonic() - began)
            logger.debug("derived", tenant=tenant, marks=done.marks, changes=done.changes)
        if done.is_done:
            break
        if done.marks > MARKS_PER_ENTITY * done.entities and done.has_more_marks and not done.hit_limit:
            _rest(context, tenant, min(REST_FACTOR * (time.monotonic() - began), MAX_REST_SECONDS))
            break
    return changes


def _let_apply_go_first(context: Context, tenant: str, until: float) -> None:
    while time.monotonic() < until:
        with context.engine.begin() as connection:
            if not batches.waits(connection, tenant, MAX_APPLY_DELAY):
                return
        time.sleep(PATIENCE_STEP_SECONDS)


def _rest_key(tenant: str) -> str:
    """Return the key of Redis that exists while a tenant rests."""
    return f"ampeco-receiver:derive-rests:{tenant}"


def _rest(context: Context, tenant: str, seconds: float) -> None:
    """Let no process derive for a tenant for some time; without Redis, it does not rest."""
    with contextlib.suppress(RedisError):
        context.redis.set(_rest_key(tenant), 1, px=max(int(seconds * 1000), 1))


def is_resting(context: Context, tenant: str) -> bool:
    """Return whether no process derives for a tenant for now, so that more changes gather."""
    with contextlib.suppress(RedisError):
        return bool(context.redis.exists(_rest_key(tenant)))
    return False
