"""Run the ASGI app under uvicorn."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from receiver.admin_app import admin_listening
from receiver.app import create_app
from receiver.connections import GuardedProtocol
from receiver.orphans import leave_with_parent
from workers.logs import configure_logging
from workers.settings import Settings, load_settings
from workers.sockets import bind

#: Connections that the kernel holds while the process is busy; a burst waits here.
BACKLOG = 2_048

#: One of several processes that has not answered its parent for so long is killed and started again. It cannot answer
#: while it starts, which takes many seconds on a busy machine: uvicorn's own 5 s would start it again and again there.
HUNG_SECONDS = 30


def app() -> ASGIApp:
    """The app of one process, from the environment: what uvicorn calls after it forked."""
    settings = load_settings()
    configure_logging(settings.log_format, settings.log_level, process="serve")
    leave_with_parent()
    return create_app(settings)


def serve(settings: Settings, *, processes: int = 1, factory: str = "receiver.serve:app") -> None:
    """Serve until SIGTERM or SIGINT: stop listening, commit what waits, answer it, leave.

    Parameters:
        processes: that accept, each with a loop of its own.
        factory: the name of the function that makes the app; the benchmark serves others the same way.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn stops in order, and then raises the signal once more: that would end us
        # before what we started is stopped too.
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        factory,
        factory=True,
        workers=processes,
        http=GuardedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nothing here asks who the client is, and finding out costs every request.
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=int(settings.keep_alive.total_seconds()),
        timeout_graceful_shutdown=int(settings.shutdown_timeout.total_seconds()),
        timeout_worker_healthcheck=HUNG_SECONDS,
    )
    with contextlib.ExitStack() as stack:
        if processes > 1:
            # prometheus_client adds up the figures of several processes through files.
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ampeco-receiver-metrics-"))
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
            # uvicorn starts them by `python -c`, which puts the current folder first on the path unless told not to.
            os.environ["PYTHONSAFEPATH"] = "1"
        # uvicorn would bind :: for IPv6 alone where there is one process, and for both families where there are more.
        sockets = bind(settings.host, settings.port, setting="RECEIVER_PORT")
        for listener in sockets:
            stack.enter_context(listener)
        stack.enter_context(admin_listening(settings))
        if processes > 1:
            Multiprocess(config, sockets).run()
        else:
            uvicorn.Server(config).run(sockets)
