"""The Dramatiq actors of a work process: what a message on each queue does."""

from __future__ import annotations

from uuid import UUID

import dramatiq
from dramatiq import Broker

from workers.apply import apply_open_batches
from workers.broker import (
    APPLY_QUEUE,
    APPLY_TIME_LIMIT_MS,
    RECONCILE_QUEUE,
    RECONCILE_TIME_LIMIT_MS,
    REFRESH_QUEUE,
    REFRESH_TIME_LIMIT_MS,
)
from workers.context import Context
from workers.errors import describe
from workers.logs import Throttle, get_logger
from workers.putting_off import PutOffError
from workers.reconcile import run_due
from workers.refresh import refresh_tenant
from workers.settings import Settings
from workers.sweep import awake_for_sync_runs

logger = get_logger(__name__)


def declare_actors(broker: Broker, context: Context, settings: Settings) -> None:
    """Declare the actors of a process; they are sync, as Dramatiq's async ones keep exceptions alive."""

    is_new = Throttle()

    def apply(batch_id: str) -> None:
        # What failed is in the log and with the batches, and is tried again a second later for as long as it lasts.
        # Dramatiq would log a traceback for each message, and give up after a few.
        try:
            apply_open_batches(context.engine, context.process_id)
        except PutOffError:
            context.apply_again.append(UUID(batch_id))
        except Exception as error:  # noqa: BLE001 - it is in the log
            context.apply_again.append(UUID(batch_id))
            if is_new(type(error)):
                logger.warning("nothing can be applied now, which is tried again", error=describe(error))

    def refresh(tenant: str) -> None:
        refresh_tenant(context, tenant)

    def reconcile(tenant: str) -> None:
        with awake_for_sync_runs(context.redis, tenant):
            run_due(context, tenant, settings.reconcile_interval)

    dramatiq.actor(broker=broker, queue_name=APPLY_QUEUE, time_limit=APPLY_TIME_LIMIT_MS)(apply)
    dramatiq.actor(broker=broker, queue_name=REFRESH_QUEUE, time_limit=REFRESH_TIME_LIMIT_MS)(refresh)
    dramatiq.actor(broker=broker, queue_name=RECONCILE_QUEUE, time_limit=RECONCILE_TIME_LIMIT_MS)(reconcile)
