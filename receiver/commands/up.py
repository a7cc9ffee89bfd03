"""The command ``up``, which runs everything."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from receiver.consume.configuration import require_kafka
from receiver.environment import running
from receiver.processes.service import bring_up_to_date, service_children
from receiver.processes.supervisor import Child, Supervisor
from receiver.terminal import console
from runtime.alerts import load_alerts
from runtime.settings import Settings
from runtime.sockets import address_of

#: How often it looks whether the receiver and the console listen.
CHECK_INTERVAL_SECONDS = 0.1


def up() -> None:
    """Run everything in this terminal: embedded servers if needed, migrations, receiver, workers. Ctrl-C stops it."""
    with running("up") as settings:
        load_alerts(settings)  # a mistake in them ends this command, and not each new process of a supervisor
        if settings.kafka_brokers is not None:
            require_kafka(settings)  # as above
        bring_up_to_date(settings)
        children = service_children(settings)
        supervisor = Supervisor(children, shutdown_seconds=settings.shutdown_timeout.total_seconds() + 5)
        supervisor.stop_on_signals()
        supervisor.run(lambda stop: _announce(stop, settings, children))


def _announce(stop: threading.Event, settings: Settings, children: Sequence[Child]) -> None:
    """Print each address once it is listened on, then wait for a stop."""
    receiving = address_of(settings.host, settings.port)
    shown = address_of(settings.console_host, settings.console_port)
    lines = {
        "serve": f"Receiving on http://{receiving}/notifications/TENANT; Ctrl-C stops.",
        "console": f"Console: http://{shown}",
    }
    while lines and not stop.wait(CHECK_INTERVAL_SECONDS):
        for child in children:
            if child.is_ready and child.name in lines:
                console.print(lines.pop(child.name), highlight=False, soft_wrap=True)
    stop.wait()
