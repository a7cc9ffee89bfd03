"""The whole service as processes of one machine."""

from __future__ import annotations

import migrations
from receiver.supervisor import Child, receiver_child
from storage.database import create_database_engine
from storage.partitions import make_partitions
from workers.broker import QUEUES
from workers.logs import get_logger
from workers.settings import Settings

logger = get_logger(__name__)


def worker_children(settings: Settings) -> list[Child]:
    """A work process for each queue, so that slow reads never hold back the applying.

    Where the workers' metrics have a port, each process has its own, counted up from it.
    """
    children = [receiver_child(f"work {queue}", "work", "--queue", queue) for queue in QUEUES]
    if settings.work_metrics_port is not None:
        for offset, child in enumerate(children):
            child.environment["RECEIVER_WORK_METRICS_PORT"] = str(settings.work_metrics_port + offset)
    return children


def service_children(settings: Settings) -> list[Child]:
    """The processes of a whole service, what brings work in first."""
    return [receiver_child("serve", "serve"), *worker_children(settings)]


def bring_up_to_date(settings: Settings) -> None:
    """Migrate where that is needed, and make the log's partitions for the days ahead."""
    engine = create_database_engine(
        settings.required_database_url(), application_name="ampeco-receiver migrate", pool_size=1
    )
    try:
        with engine.connect() as connection:
            migrated = migrations.current(connection) == migrations.head()
        if not migrated and (missing := migrations.upgrade(engine)):
            logger.warning("roles are missing", advice=migrations.roles.advice(missing))
        make_partitions(engine)
    finally:
        engine.dispose()
