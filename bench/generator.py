"""One measurement: a load generator in its own process, and the figures that it hands back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from bench.processes import BenchError, stop
from bench.signed import PATH

_SCRIPT = Path(__file__).with_name("wrk.lua")

#: A generator that is not back this long after its time is stuck.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What a generator saw.

    ``refused`` counts answers other than 202, ``broken`` requests without an answer.
    """

    answers: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds


class Generator:
    """Sends requests to a port of this machine, each connection with one under way at a time.

    Parameters:
        connections: how many at once.
        folder: where the figures are handed over.
        prefer: ``wrk``, ``python``, or ``auto`` for wrk where it is installed.
    """

    def __init__(self, connections: int, folder: Path, prefer: str = "auto") -> None:
        self._connections = connections
        self._figures = folder / "figures.json"
        self._wrk = shutil.which("wrk") if prefer != "python" else None
        if prefer == "wrk" and self._wrk is None:
            raise BenchError("--generator wrk: wrk is not installed.")

    @property
    def name(self) -> str:
        return "wrk" if self._wrk else "bundled, in Python"

    def full_speed(self, port: int, requests: Path, seconds: int) -> Figures:
        """Send as fast as the answers come."""
        if self._wrk is None:
            return self._run(self._sender(port, requests, seconds), seconds)
        command = [
            *(self._wrk, "--threads", "1", "--connections", str(self._connections)),
            *("--duration", f"{seconds}s", "--timeout", "10s", "--script", str(_SCRIPT)),
            *(f"http://127.0.0.1:{port}{PATH}", "--", str(requests), str(self._figures)),
        ]
        return self._run(command, seconds)

    def steady(self, port: int, requests: Path, seconds: int, rate: int, ledger: Path) -> Figures:
        """Send ``rate`` requests a second; ``ledger`` gets the id and time of each 202."""
        paced = ["--rate", str(rate), "--ledger", str(ledger)]
        return self._run(self._sender(port, requests, seconds) + paced, seconds)

    def _sender(self, port: int, requests: Path, seconds: int) -> list[str]:
        return [
            *(sys.executable, "-m", "bench.sender", str(requests), str(self._figures)),
            *("--port", str(port), "--connections", str(self._connections), "--seconds", str(seconds)),
        ]

    def _run(self, command: list[str], seconds: int) -> Figures:
        self._figures.unlink(missing_ok=True)
        process = subprocess.Popen(command, process_group=0, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output, _ = process.communicate(timeout=seconds + PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise BenchError(f"The load generator ({self.name}) did not end in time.") from None
        finally:
            stop(process)
        if process.returncode or not self._figures.exists():
            raise BenchError(f"The load generator ({self.name}) failed:\n{output.decode(errors='replace')}")
        found = json.loads(self._figures.read_text())
        figures = Figures(**{field.name: found[field.name] for field in fields(Figures)})
        if figures.refused or figures.broken:
            raise BenchError(
                f"Of {figures.answers} requests {figures.refused} were refused and {figures.broken} broke off:"
                " the figures would mean nothing."
            )
        return figures
