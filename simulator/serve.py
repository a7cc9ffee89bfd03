"""Serve the simulator on a port until a signal stops it."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from types import FrameType

import uvicorn
from rich.console import Console

from simulator.app import Simulator
from simulator.status import report

#: Seconds for open calls of the API when the simulator stops; deliveries have connections of their own.
GOODBYE_SECONDS = 1


def listen(host: str, port: int) -> socket.socket:
    """Open the port; this comes first, so that a port in use leads to one clear sentence.

    Raises:
        OSError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


class Server:
    """A server for the simulator on an open port.

    After SIGINT or SIGTERM the process exits with code 0. If a bug ends the simulator's clock or
    deliveries, :meth:`run` raises that error.
    """

    def __init__(self, listener: socket.socket, console: Console) -> None:
        self._listener = listener
        self._console = console
        self._error: BaseException | None = None
        self._server: uvicorn.Server | None = None

    def broken(self, error: BaseException) -> None:
        """Stop serving because of an error of the simulator."""
        self._error = error
        if self._server is not None:
            self._server.should_exit = True

    def run(self, simulator: Simulator) -> None:
        """Serve until stopped."""
        # uvicorn raises the signal again after it has stopped, and these handlers exit with code 0.
        signal.signal(signal.SIGTERM, _exit)
        signal.signal(signal.SIGINT, _exit)
        self._server = uvicorn.Server(
            uvicorn.Config(
                simulator.guard,
                log_config=None,
                log_level="warning",
                access_log=False,
                date_header=False,  # the guard sets it by the tenant's clock
                server_header=False,
                timeout_graceful_shutdown=GOODBYE_SECONDS,
            )
        )
        with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
            runner.run(self._serve(simulator, self._server))
        if self._error is not None:
            raise self._error

    async def _serve(self, simulator: Simulator, server: uvicorn.Server) -> None:
        reporting = asyncio.create_task(report(simulator, self._console))
        try:
            await server.serve(sockets=[self._listener])
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
            waiting = simulator.delivery.waiting
            unsent = f" {waiting} deliveries were still waiting." if waiting else ""
            self._console.print(f"Stopped.{unsent}", highlight=False)


def _exit(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
