"""The whole service as processes of one machine."""

from __future__ import annotations

import migrations
from receiver.supervisor import Child, receiver_child
from storage.database import create_database_engine
from workers.broker import QUEUES
from workers.process import make_partitions
from workers.settings import Settings


def worker_children() -> list[Child]:
    """A work process for each queue, so that slow reads never hold back the applying."""
    return [receiver_child(f"work {queue}", "work", "--queue", queue) for queue in QUEUES]


def service_children() -> list[Child]:
    """The processes of a whole service, what brings work in first."""
    return [receiver_child("serve", "serve"), *worker_children()]


def bring_up_to_date(settings: Settings) -> None:
    """Migrate, and make the log's partitions for the days ahead."""
    engine = create_database_engine(
        settings.required_database_url(), application_name="ampeco-receiver migrate", pool_size=1
    )
    try:
        migrations.upgrade(engine)
        make_partitions(engine)
    finally:
        engine.dispose()
