"""The command ``console``, which runs the console."""

from __future__ import annotations

from receiver.console.serve import serve_console
from receiver.environment import require_migrated, running
from receiver.processes.parent_watchdog import leave_with_parent


def show_console() -> None:
    """Run the console: web pages that show what the service does and knows, and from which operators act."""
    with running("console") as settings:
        require_migrated(settings)
        leave_with_parent()
        serve_console(settings)
