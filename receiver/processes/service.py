"""The processes of the whole service on one machine."""

from __future__ import annotations

import migrations
from migrations import roles
from receiver.processes.supervisor import Child, receiver_child
from runtime.logging import get_logger
from runtime.settings import Settings
from storage.database import create_database_engine
from storage.inbox.partitions import make_partitions
from storage.state.meter_partitions import make_meter_partitions
from workers.broker import QUEUES

logger = get_logger(__name__)


def worker_children(settings: Settings) -> list[Child]:
    """Return a work process for each queue, so that slow reads never delay applying.

    If a port for the workers' metrics is configured, the processes get consecutive ports starting with it.
    """
    children = [receiver_child(f"work {queue}", "work", "--queue", queue) for queue in QUEUES]
    if settings.work_metrics_port is not None:
        for offset, child in enumerate(children):
            child.environment["RECEIVER_WORK_METRICS_PORT"] = str(settings.work_metrics_port + offset)
    return children


def service_children(settings: Settings) -> list[Child]:
    """Return the processes of a whole service."""
    receivers = [receiver_child("serve", "serve", port_setting="RECEIVER_PORT", brings_work=True)]
    if settings.kafka_brokers is not None:
        receivers.append(receiver_child("consume", "consume", brings_work=True))
    return [
        *receivers,
        *worker_children(settings),
        receiver_child("console", "console", port_setting="RECEIVER_CONSOLE_PORT"),
    ]


def bring_up_to_date(settings: Settings) -> None:
    """Migrate the database if needed, and make the partitions of the log and of meter values ahead of time."""
    engine = create_database_engine(
        settings.required_database_url(), application_name="ampeco-receiver migrate", pool_size=1
    )
    try:
        with engine.connect() as connection:
            migrated = migrations.current(connection) == migrations.head()
        if not migrated and (missing := migrations.upgrade(engine)):
            logger.warning("database roles are missing", advice=roles.advice(missing))
        make_partitions(engine)
        make_meter_partitions(engine)
    finally:
        engine.dispose()
