"""The processes of a run: started when wanted, and stopped whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

import httpx

START_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 15.0


class BenchError(Exception):
    """The benchmark cannot go on; the message is one sentence that says why."""


@contextlib.contextmanager
def running(name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run ``python -m ARGUMENTS`` meanwhile; what it writes goes to the end of ``log``."""
    with log.open("ab") as output:
        # A process group of its own: Ctrl-C reaches us alone, and we stop it.
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=os.environ | dict(environment),
            process_group=0,
            stdout=output,
            stderr=output,
        )
    try:
        yield
        if process.poll() is not None:
            raise BenchError(f"{name} ended by itself, with exit code {process.returncode}:\n{tail(log)}")
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to stop, and kill it if it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except BaseException as error:
            process.kill()
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise


def wait_until_answers(name: str, port: int, log: Path, path: str = "/healthz") -> None:
    """Wait for a server to answer."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).is_success:
                return
        time.sleep(0.05)
    raise BenchError(f"{name} did not start within {START_TIMEOUT_SECONDS:g} s:\n{tail(log)}")


def tail(log: Path, lines: int = 10, width: int = 300) -> str:
    """The end of a log, its long lines cut short."""
    return "\n".join(line[:width] for line in log.read_text(errors="replace").splitlines()[-lines:])


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def leave_in_order() -> None:
    """From now on, stop on a signal as on an error: every process that was started is stopped on the way out."""
    _on_signals(_leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    _on_signals(signal.SIG_IGN)
    raise SystemExit(128 + number)


def _on_signals(handler: object) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handler)  # type: ignore[arg-type] # what `signal.signal` returned, or ours
