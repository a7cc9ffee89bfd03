"""The command ``up``, which runs everything."""

from __future__ import annotations

from receiver.consume.configuration import require_kafka
from receiver.environment import running
from receiver.processes.service import bring_up_to_date, service_children
from receiver.processes.supervisor import Supervisor
from receiver.terminal import console
from runtime.alerts import load_alerts
from runtime.sockets import address_of


def up() -> None:
    """Run everything in this terminal: embedded servers if needed, migrations, receiver, workers. Ctrl-C stops it."""
    with running("up") as settings:
        load_alerts(settings)  # a mistake in them ends this command, and not each new process of a supervisor
        if settings.kafka_brokers is not None:
            require_kafka(settings)  # as above
        bring_up_to_date(settings)
        supervisor = Supervisor(
            service_children(settings), shutdown_seconds=settings.shutdown_timeout.total_seconds() + 5
        )
        supervisor.stop_on_signals()
        address = address_of(settings.host, settings.port)
        shown = address_of(settings.console_host, settings.console_port)
        console.print(f"Receiving on http://{address}/notifications/TENANT; Ctrl-C stops.")
        console.print(f"Console: http://{shown}")
        supervisor.run()
