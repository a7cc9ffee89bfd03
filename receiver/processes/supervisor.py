"""Supervise several processes: start them, restart those that end, and stop them in order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from runtime.background import supervised_thread
from runtime.logging import get_logger
from runtime.supervised import PARENT, READY

logger = get_logger(__name__)

#: Delay before a process that ended is started again. It doubles each time that the process ends soon after its start,
#: up to the maximum.
FIRST_RESTART_SECONDS = 0.5
MAX_RESTART_SECONDS = 30.0

#: If a process ran for this long, the delay is reset.
STARTED_WELL_SECONDS = 10.0

CHECK_INTERVAL_SECONDS = 0.2

#: The exit code of a command that ended because of a problem that an operator can correct.
CORRECTABLE = 2


class ChildStartError(Exception):
    """A process ended at its first start because of a mistake in the configuration, and said which.

    Attributes:
        name: the name of the process.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} could not start")
        self.name = name


@dataclass(slots=True)
class Child:
    """A process to keep running.

    Attributes:
        name: its name in the log.
        command: the program and its arguments.
        environment: variables that are added to our environment.
        port_setting: the setting of the port that it is ready with once it listens; None if it reports that itself.
        brings_work: whether it brings work in for the others, and so is stopped before them.
        is_ready: whether it has been ready since its first start.
        process: the process that was started last; None before the first start.
        starts: how often it was started.
        started_at: when it was started, by the monotonic clock.
        restart_at: when to start it again, by the monotonic clock; 0 if it runs.
        delay: the delay before the next restart, seconds.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    port_setting: str | None = None
    brings_work: bool = False
    is_ready: bool = False
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    started_at: float = 0.0
    restart_at: float = 0.0
    delay: float = FIRST_RESTART_SECONDS
    _reports: int | None = None

    def start(self, output: IO[bytes] | None) -> None:
        """Start the process."""
        self.close()
        self._reports, ours_to_it = os.pipe()
        os.set_blocking(self._reports, False)
        ready = {READY: f"{ours_to_it}:{self.port_setting or ''}"}
        # A process group of its own, so that Ctrl-C on the terminal reaches only the supervisor, which stops the
        # processes in order.
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                self.command,
                env=os.environ | self.environment | {PARENT: str(os.getpid())} | ready,
                process_group=0,
                stdout=output,
                stderr=output,
                pass_fds=(ours_to_it,),
            )
        finally:
            os.close(ours_to_it)
        self.starts += 1
        self.started_at = time.monotonic()

    def look(self) -> None:
        """Record whether the process has reported that it is ready."""
        if self._reports is None:
            return
        with contextlib.suppress(BlockingIOError):
            self.is_ready = bool(os.read(self._reports, 1)) or self.is_ready
            self.close()

    def close(self) -> None:
        """Wait for no more report of the process."""
        if self._reports is not None:
            os.close(self._reports)
            self._reports = None

    def signal(self, number: int) -> None:
        """Send a signal to the process if it is running."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this project.

    ``-P`` keeps the current folder off the path: ``-m`` would put it first, and a ``storage.py`` in it would run.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def receiver_child(name: str, *arguments: str, port_setting: str | None = None, brings_work: bool = False) -> Child:
    """Return a child that runs ``ampeco-receiver`` with these arguments."""
    return Child(name, module_command("receiver", *arguments), port_setting=port_setting, brings_work=brings_work)


class Supervisor:
    """Keeps children running until :meth:`stop`.

    Parameters:
        children: the processes, in the order of their start. Those that bring work in are stopped first, and then all
            others together.
        shutdown_seconds: how long the children that stop together may take before they are killed.
        output: where the children write; by default, where this process writes.
    """

    def __init__(self, children: Sequence[Child], *, shutdown_seconds: float, output: IO[bytes] | None = None) -> None:
        self._children = children
        self._shutdown = shutdown_seconds
        self._output = output
        self._stop = threading.Event()
        self._failed: Child | None = None

    def stop(self) -> None:
        """Stop the children, and return from :meth:`run`."""
        self._stop.set()

    def stop_on_signals(self) -> None:
        """Stop on SIGTERM, SIGINT and SIGHUP."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stop())

    def run(self, task: Callable[[threading.Event], None] | None = None) -> None:
        """Run the children until :meth:`stop` is called.

        Parameters:
            task: called in this thread after the children are started, with an event that is set when it has to return;
                after it returns, the children are stopped. None to wait for a stop.

        Raises:
            ChildStartError: a child ended at its first start, before it was ready, because of a problem that an
                operator can correct. Starting it again would not help, and the child has said what is wrong.
        """
        thread = supervised_thread("supervisor", self._watch)
        try:
            for child in self._children:
                if not self._stop.is_set():
                    child.start(self._output)
            thread.start()
            if task is not None:
                task(self._stop)
            else:
                self._stop.wait()
        finally:
            self._stop.set()
            if thread.is_alive():  # it may be starting a child, which has to be stopped, too
                thread.join(self._shutdown)
            self._stop_children()
        if self._failed is not None:
            raise ChildStartError(self._failed.name)

    def _watch(self) -> None:
        while not self._stop.wait(CHECK_INTERVAL_SECONDS):
            for child in self._children:
                if self._stop.is_set():
                    return
                self._restart_if_ended(child)
                child.look()

    def _restart_if_ended(self, child: Child) -> None:
        if child.process is None:
            return  # a stop came before its start
        now = time.monotonic()
        if child.restart_at:
            if now >= child.restart_at and not self._stop.is_set():
                child.restart_at = 0.0
                child.start(self._output)
        elif child.process.poll() is not None:
            child.look()  # what it reported before it ended
            if child.process.returncode == CORRECTABLE and child.starts == 1 and not child.is_ready:
                self._failed = child
                self._stop.set()
                return
            if now - child.started_at > STARTED_WELL_SECONDS:
                child.delay = FIRST_RESTART_SECONDS
            logger.error(
                "process ended, starting it again",
                name=child.name,
                exit_code=child.process.returncode,
                seconds=child.delay,
            )
            child.restart_at = now + child.delay
            child.delay = min(child.delay * 2, MAX_RESTART_SECONDS)

    def _stop_children(self) -> None:
        self._stop_together([child for child in self._children if child.brings_work])
        self._stop_together([child for child in self._children if not child.brings_work])

    def _stop_together(self, children: Sequence[Child]) -> None:
        for child in children:
            child.close()
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + self._shutdown
        for child in children:
            if child.process is None:
                continue
            try:
                child.process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                logger.error("process did not stop in time, killing it", name=child.name)
                child.process.kill()
                child.process.wait()
