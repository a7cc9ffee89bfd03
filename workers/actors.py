"""The Dramatiq actors of a work process, one for each queue."""

from __future__ import annotations

from uuid import UUID

import dramatiq
from dramatiq import Broker

from runtime.errors import describe
from runtime.logging import Throttle, get_logger
from runtime.settings import Settings
from workers.api.context import Context
from workers.apply.apply import apply_open_batches
from workers.apply.postponing import PostponedError
from workers.broker import (
    APPLY_QUEUE,
    APPLY_TIME_LIMIT_MS,
    DERIVE_QUEUE,
    DERIVE_TIME_LIMIT_MS,
    RECONCILE_QUEUE,
    RECONCILE_TIME_LIMIT_MS,
    REFRESH_QUEUE,
    REFRESH_TIME_LIMIT_MS,
)
from workers.derive import derive_tenant
from workers.sync.due_runs import run_due
from workers.sync.refresh import refresh_tenant
from workers.sync.schedule import Part
from workers.wake_ups import are_sync_runs_awake, awake_for_sync_runs

logger = get_logger(__name__)


def declare_actors(broker: Broker, context: Context, settings: Settings) -> None:
    """Declare the actors of a process; they are synchronous, because Dramatiq's async actors keep exceptions alive."""
    is_new = Throttle()

    def apply(batch_id: str) -> None:
        # A failure is logged and recorded with the batches, and applying is retried every second until it succeeds.
        # Dramatiq would log a traceback for each message, and give up after a few attempts.
        try:
            apply_open_batches(context.engine, context.process_id)
        except PostponedError:
            context.apply_again.append(UUID(batch_id))
        except Exception as error:  # noqa: BLE001 - it is logged
            context.apply_again.append(UUID(batch_id))
            if is_new(type(error)):
                logger.warning("batches could not be claimed or applied, retrying", error=describe(error))

    def refresh(tenant: str) -> None:
        refresh_tenant(context, tenant)

    def reconcile(tenant: str, part: Part) -> None:
        def has_urgent() -> bool:
            return part == "others" and are_sync_runs_awake(context.redis, tenant, "statuses")

        with awake_for_sync_runs(context.redis, tenant, part):
            run_due(context, tenant, settings.reconcile_interval, part, has_urgent=has_urgent)

    def derive(tenant: str) -> None:
        derive_tenant(context, tenant)

    dramatiq.actor(broker=broker, queue_name=APPLY_QUEUE, time_limit=APPLY_TIME_LIMIT_MS)(apply)
    dramatiq.actor(broker=broker, queue_name=REFRESH_QUEUE, time_limit=REFRESH_TIME_LIMIT_MS)(refresh)
    dramatiq.actor(broker=broker, queue_name=RECONCILE_QUEUE, time_limit=RECONCILE_TIME_LIMIT_MS)(reconcile)
    dramatiq.actor(broker=broker, queue_name=DERIVE_QUEUE, time_limit=DERIVE_TIME_LIMIT_MS)(derive)
