"""Runs a tenant behind a real port until it is told to stop."""

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

#: Deliveries keep connections of their own; of those to the API, nobody is owed a slow goodbye.
GOODBYE_SECONDS = 1


def listen(host: str, port: int) -> socket.socket:
    """Open the port before anything else, so that a taken one is told in one sentence.

    Raises:
        OSError: the address cannot be listened on.
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
    """A tenant that answers on a port.

    Stopped by SIGINT or SIGTERM it leaves with code 0; where the tenant itself broke,
    :meth:`run` raises what broke it.
    """

    def __init__(self, listener: socket.socket, console: Console) -> None:
        self._listener = listener
        self._console = console
        self._error: BaseException | None = None
        self._server: uvicorn.Server | None = None

    def broken(self, error: BaseException) -> None:
        """Stop, because the tenant cannot go on."""
        self._error = error
        if self._server is not None:
            self._server.should_exit = True

    def run(self, simulator: Simulator) -> None:
        """Serve until stopped."""
        # uvicorn raises the signal again once it has stopped: that is our leave.
        signal.signal(signal.SIGTERM, _leave)
        signal.signal(signal.SIGINT, _leave)
        self._server = uvicorn.Server(
            uvicorn.Config(
                simulator.guard,
                log_config=None,
                log_level="warning",
                access_log=False,
                date_header=False,  # the tenant's own clock speaks
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


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
