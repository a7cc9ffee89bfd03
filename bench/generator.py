"""Run the load generator in a process of its own, and read its measurements."""

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

#: The time that a generator may take beyond its duration, after which it counts as stuck.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Figures:
    """The measurements of a generator.

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
        """Answers in a second."""
        return self.answers / self.seconds


class Generator:
    """A load generator for a port of this machine, with one unanswered request for each connection at most.

    Parameters:
        connections: the number of connections.
        folder: where the generator writes its measurements.
        prefer: ``wrk``, ``python``, or ``auto`` for wrk if it is installed.
    """

    def __init__(self, connections: int, folder: Path, prefer: str = "auto") -> None:
        self._connections = connections
        self._figures = folder / "figures.json"
        self._wrk = shutil.which("wrk") if prefer != "python" else None
        if prefer == "wrk" and self._wrk is None:
            raise BenchError("--generator wrk: wrk is not installed.")

    @property
    def name(self) -> str:
        """The name of the generator in the output."""
        return "wrk" if self._wrk else "bundled, in Python"

    def full_speed(self, port: int, requests: Path, seconds: int) -> Figures:
        """Send the next request on each connection as soon as the last one is answered."""
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
        measured = json.loads(self._figures.read_text())
        figures = Figures(**{field.name: measured[field.name] for field in fields(Figures)})
        if figures.refused or figures.broken:
            raise BenchError(
                f"Of {figures.answers} requests {figures.refused} were refused and {figures.broken} broke off,"
                " so the measurements are not valid."
            )
        return figures
