"""Run the ASGI app under uvicorn."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import tempfile

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from receiver.accept.app import create_app
from receiver.accept.protocol import GuardedProtocol
from receiver.admin.app import admin_listening
from receiver.processes.parent_watchdog import leave_with_parent
from runtime.logging import configure_logging
from runtime.settings import Settings, load_settings
from runtime.sockets import bind

#: Most connections that wait in the kernel while the process is busy, as in a burst.
BACKLOG = 2_048

#: If one of several processes has not answered its parent for so long, it is killed and started again. It cannot answer
#: while it starts, which takes many seconds on a busy machine: with uvicorn's default of 5 s it would never get ready.
HUNG_SECONDS = 30


def app() -> ASGIApp:
    """Create the app of one process from the environment; uvicorn calls this in each process."""
    settings = load_settings()
    configure_logging(settings.log_format, settings.log_level, process="serve")
    leave_with_parent()
    created = create_app(settings)
    # What is loaded by now stays, so that the garbage collector need not look through it again and again.
    gc.freeze()
    return created


def serve(settings: Settings, *, processes: int = 1, factory: str = "receiver.accept.serve:app") -> None:
    """Serve until SIGTERM or SIGINT, then stop listening, commit and answer the waiting notifications, and return.

    Parameters:
        processes: number of processes that accept, each with an event loop of its own.
        factory: the name of the function that creates the app; the benchmark serves other apps, too.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn stops in order, and then raises the signal again, which would end this process before it has stopped
        # everything else that it started.
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
        # The address of the client is not used, and determining it would cost time in every request.
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=int(settings.keep_alive.total_seconds()),
        timeout_graceful_shutdown=int(settings.shutdown_timeout.total_seconds()),
        timeout_worker_healthcheck=HUNG_SECONDS,
    )
    with contextlib.ExitStack() as stack:
        if processes > 1:
            # prometheus_client adds up the metrics of several processes through files.
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ampeco-receiver-metrics-"))
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
            # uvicorn starts them by `python -c`, which without this puts the current folder first on the path.
            os.environ["PYTHONSAFEPATH"] = "1"
        # uvicorn would bind :: for IPv6 only if there is one process, and for both families if there are more.
        sockets = bind(settings.host, settings.port, setting="RECEIVER_PORT")
        for listener in sockets:
            stack.enter_context(listener)
        stack.enter_context(admin_listening(settings))
        if processes > 1:
            Multiprocess(config, sockets).run()
        else:
            uvicorn.Server(config).run(sockets)
