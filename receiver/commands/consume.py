"""The command ``consume``, which consumes notifications from Kafka."""

from __future__ import annotations

from receiver.consume.configuration import require_kafka
from receiver.environment import database, require_migrated, running, warn_of_weak_durability
from receiver.processes.parent_watchdog import leave_with_parent
from storage.inbox.partitions import make_partitions


def consume() -> None:
    """Consume AMPECO's notifications from Kafka: commit each record, then its offset."""
    with running("consume") as settings:
        require_kafka(settings)
        # Imported here, because only now is the client library known to be installed.
        from receiver.consume.consume import consume as run

        require_migrated(settings, to_accept=True)
        with database(settings) as engine:
            make_partitions(engine)
            warn_of_weak_durability(engine)
        leave_with_parent()
        run(settings)
