"""Work processes that are killed and started again during a run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.processes import stop

#: The interval at which a started process is checked.
POLL_SECONDS = 0.25


class Workers:
    """Work processes, one for each of the queues; they are killed and started again one after another.

    The next one is killed only when all of them work again, so that the run is not over before it began on a slow
    machine.

    Attributes:
        kills: how many were killed.
    """

    def __init__(
        self, queues: Sequence[str], environment: Mapping[str, str], log: Path, kill_seconds: float = 0
    ) -> None:
        self._queues = queues
        self._environment = os.environ | dict(environment)
        self._log = log
        self._every = kill_seconds
        self._chance = random.Random(1)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._kill, daemon=True)
        self._started = 0
        self.kills = 0
        self._processes = [self._start(queue) for queue in queues]

    def _start(self, queue: str) -> subprocess.Popen[bytes]:
        self._started += 1
        command = [sys.executable, "-m", "receiver", "work", "--queue", queue]
        with self._log.open("ab") as output:
            return subprocess.Popen(command, env=self._environment, process_group=0, stdout=output, stderr=output)

    def _all_work(self) -> bool:
        return self._log.read_bytes().count(b'"event": "working"') >= self._started

    def begin(self) -> None:
        """Start to kill processes, unless the interval is 0."""
        if self._every:
            self._thread.start()

    def _kill(self) -> None:
        while not self._ended.wait(self._chance.uniform(0.5, 1.5) * self._every):
            place = self.kills % len(self._processes)
            self._processes[place].send_signal(signal.SIGKILL)
            self._processes[place].wait()
            self.kills += 1
            self._processes[place] = self._start(self._queues[place])
            while not self._all_work() and not self._ended.wait(POLL_SECONDS):
                pass

    def end(self) -> None:
        """Stop killing, and stop the processes."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(30)
        for process in self._processes:
            stop(process)
