"""Start and stop the processes of a run; they are stopped on errors and signals too."""

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
    """The benchmark cannot continue; the message is one sentence with the reason."""


@contextlib.contextmanager
def running(name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run ``python -m ARGUMENTS`` in the context; its output is appended to ``log``."""
    with log.open("ab") as output:
        # It has a process group of its own, so that Ctrl-C reaches only this process, which stops it.
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
    """Send SIGTERM to a process, and kill it if it does not end in time."""
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
    """Wait until a server answers with a success.

    Raises:
        BenchError: it does not within ``START_TIMEOUT_SECONDS``.
    """
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).is_success:
                return
        time.sleep(0.05)
    raise BenchError(f"{name} did not start within {START_TIMEOUT_SECONDS:g} s:\n{tail(log)}")


def tail(log: Path, lines: int = 10, width: int = 300) -> str:
    """Return the last lines of a log, each cut to ``width``."""
    return "\n".join(line[:width] for line in log.read_text(errors="replace").splitlines()[-lines:])


def free_port() -> int:
    """Return a port of the loopback interface on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def leave_in_order() -> None:
    """Turn later signals into ``SystemExit``, so that every started process is stopped before this one exits."""
    _on_signals(_leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    _on_signals(signal.SIG_IGN)
    raise SystemExit(128 + number)


def _on_signals(handler: object) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handler)  # type: ignore[arg-type] # what `signal.signal` returned, or ours
