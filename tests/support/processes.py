"""The processes of the service for a test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.commands import ForkedProcess, can_be_forked, fork, run
from tests.support.service import eventually, free_port, write_tenants

#: How a container asks whether its process is alive; `tests/integration/test_serve.py` tries it.
PROBE = ["python", "-P", "-m", "receiver.probe"]

Process = subprocess.Popen[bytes] | ForkedProcess


@dataclass
class Processes:
    """The processes that a test starts, with its servers and settings.

    Attributes:
        log: the file to which they write.
        as_programs: whether each is a new interpreter, as for an operator, and not forked from one that has imported
            everything. A test needs it that looks at the memory or the command line of a process.
    """

    environment: dict[str, str]
    log: Path
    as_programs: bool = False
    started: list[Process] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    #: The admin endpoints of the receiver that was started last.
    admin_url: str = ""

    @property
    def url(self) -> str:
        """The URL of the first receiver."""
        return self.urls[0]

    def start(self, *command: str, **environment: str) -> Process:
        """Start ``python`` with these arguments: ``-m receiver`` and a command, or ``-c`` and code."""
        process = self._popen([*command], self.environment | environment)
        self.started.append(process)
        return process

    def _popen(self, command: list[str], environment: dict[str, str]) -> Process:
        own = os.environ | environment
        # The processes that share a port import the main module of the one that starts them.
        is_program = self.as_programs or "--processes" in command or not can_be_forked(environment)
        with self.log.open("ab") as log:
            if is_program:
                return subprocess.Popen([sys.executable, *command], env=own, stdout=log, stderr=log)
            return fork(Path.cwd(), command, own, log.fileno(), log.fileno())

    def serve(self, url: str | None = None, *options: str) -> Process:
        """Start a receiver, by default at the URL of the first one, and wait until it is ready."""
        url = url or (self.urls[0] if self.urls else None) or f"http://127.0.0.1:{free_port()}"
        if url not in self.urls:
            self.urls.append(url)
        admin_port = free_port()
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        ports = {"RECEIVER_PORT": url.rpartition(":")[2], "RECEIVER_ADMIN_PORT": str(admin_port)}
        process = self.start("-m", "receiver", "serve", *options, **ports)
        eventually(lambda: is_ready(url), seconds=60)
        return process

    def work(self, queue: str = "apply") -> Process:
        """Start a worker for a queue."""
        return self.start("-m", "receiver", "work", "--queue", queue)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the receiver to its end."""
        done = run(self.log.parent, *arguments, **self.environment)
        done.check_returncode()
        return done


def is_ready(url: str) -> bool:
    """Return whether a receiver answers that it is ready."""
    try:
        return httpx.get(f"{url}/readyz", timeout=10).is_success
    except httpx.TransportError:
        return False


def end(process: Process, number: int = signal.SIGKILL) -> int:
    """Send a signal that ends the process; return its exit code."""
    process.send_signal(number)
    return process.wait(60)


@contextlib.contextmanager
def processes(database_url: str, redis_url: str, directory: Path, **settings: str) -> Iterator[Processes]:
    """Yield an object that starts processes, and kill them at the end; ``settings`` are environment variables.

    What they logged is printed at the end, which pytest shows if the test has failed.
    """
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TENANTS_FILE": str(write_tenants(directory)),
        "RECEIVER_SWEEP_AFTER": "1",
    } | settings
    service = Processes(environment, directory / "processes.log")
    try:
        yield service
    finally:
        for process in service.started:
            process.kill()
            process.wait()
        if service.log.exists():
            sys.stdout.write(service.log.read_text(errors="replace"))
