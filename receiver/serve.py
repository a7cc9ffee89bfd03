"""Run the ASGI app under uvicorn."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile

import uvicorn
from starlette.types import ASGIApp

from receiver.app import create_app
from receiver.connections import KEEP_ALIVE_SECONDS, GuardedProtocol
from receiver.operators import operators_listening
from receiver.orphans import leave_with_parent
from workers.logs import configure_logging
from workers.settings import Settings, load_settings

#: Connections that the kernel holds while the process is busy; a burst waits here.
BACKLOG = 2_048


def app() -> ASGIApp:
    """The app of one process, from the environment: what uvicorn calls after it forked."""
    settings = load_settings()
    configure_logging(settings.log_format, settings.log_level, process="serve")
    leave_with_parent()
    return create_app(settings)


def serve(settings: Settings, *, processes: int = 1) -> None:
    """Serve until SIGTERM or SIGINT: stop listening, commit what waits, answer it, leave."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn stops in order, and then raises the signal once more: that would end us
        # before what we started is stopped too.
        signal.signal(number, lambda *_: None)
    with contextlib.ExitStack() as stack:
        if processes > 1:
            # prometheus_client adds up the figures of several processes through files.
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ampeco-receiver-metrics-"))
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        stack.enter_context(operators_listening(settings))
        uvicorn.run(
            "receiver.serve:app",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=processes,
            http=GuardedProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            # Nothing here asks who the client is, and finding out costs every request.
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=int(settings.shutdown_timeout.total_seconds()),
        )
