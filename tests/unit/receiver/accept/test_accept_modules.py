"""The accept process loads what it needs to accept, and nothing that belongs to commands or to reading the API."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

PACKAGES = ("ampeco", "storage", "runtime", "workers", "receiver", "migrations")

#: Modules of ours that the process needs today. A new one is a decision: each costs memory in every process that accepts.
MAX_MODULES = 83

#: What commands, workers and the demo load. structlog loads rich by itself where it is installed.
FORBIDDEN = (
    "ampeco.api",
    "receiver.commands",
    "receiver.demo",
    "receiver.terminal",
    "workers.api",
    "workers.maintenance",
    "workers.monitoring",
    "workers.sync",
    "httpx",
    "opentelemetry.exporter",
    "runtime.tracing",
    "typer",
)


def loaded() -> set[str]:
    """Return the modules that a process of `serve --processes N` has loaded before its first request."""
    listing = "import sys, receiver.accept.serve; print(*sys.modules, sep='\\n')"
    return set(
        subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout.split()
    )


def test_the_accept_process_loads_no_command_and_no_reader_of_the_api() -> None:
    modules = loaded()
    assert not {name for name in modules if name.startswith(FORBIDDEN)}
    assert len([name for name in modules if name.partition(".")[0] in PACKAGES]) <= MAX_MODULES
