"""The output of a running simulator: a status line on a terminal, and warnings on standard error."""

from __future__ import annotations

import asyncio
import logging
import sys

import structlog
from rich.console import Console
from rich.status import Status

from simulator.app import Simulator

#: Real seconds between two reports.
REPORT_SECONDS = 2


def configure_logging() -> None:
    """Write warnings, ours and those of libraries, to standard error as JSON."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


async def report(simulator: Simulator, console: Console) -> None:
    """Keep one status line on a terminal up to date until cancelled; print nothing elsewhere."""
    if not console.is_terminal:
        return
    with Status(_line(simulator), console=console, refresh_per_second=2) as line:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            line.update(_line(simulator))


def _line(simulator: Simulator) -> str:
    deliveries = simulator.delivery.state()
    running = sum(evse.session_id is not None for evse in simulator.fleet.tenant.evses.values())
    paused = " · paused" if simulator.runner.is_paused else ""
    return (
        f"{simulator.fleet.now:%m-%d %H:%M}{paused} · {running} sessions running"
        f" · {deliveries['acknowledged']} delivered, {deliveries['queued']} queued, {deliveries['failed']} failed"
        f" · {simulator.guard.calls.total()} calls"
    )
