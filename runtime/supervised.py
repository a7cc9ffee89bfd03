"""What a process knows of the one of ours that started it, and reports to it.

The names of two environment variables, and the pipe over which a process reports that it has started.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # every command loads this module, and few listen
    import socket

#: The pid of the process that started this one.
PARENT = "AMPECO_RECEIVER_STARTED_BY"

#: The descriptor of a pipe to the process that started this one, and the setting of the port that it waits for:
#: ``7:RECEIVER_PORT``, or ``7:`` if there is none.
READY = "AMPECO_RECEIVER_READY"

CHECK_INTERVAL_SECONDS = 0.05


def notify_ready() -> None:
    """Report that this process has started, if another one waits for that."""
    descriptor = os.environ.pop(READY, "").partition(":")[0]
    if descriptor:
        with contextlib.suppress(OSError):  # the other process has ended
            os.write(int(descriptor), b"1")
        with contextlib.suppress(OSError):
            os.close(int(descriptor))


def notify_when_listening(sockets: Sequence[socket.socket], *, setting: str) -> None:
    """Report from a thread that this process has started, once all of its sockets listen.

    Parameters:
        setting: the setting of their port; nothing happens unless the other process waits for that one.
    """
    if os.environ.get(READY, "").partition(":")[2] != setting:
        return

    import socket

    def watch() -> None:
        with contextlib.suppress(OSError):  # a socket was closed before it listened
            while not all(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for each in sockets):
                time.sleep(CHECK_INTERVAL_SECONDS)
            notify_ready()

    threading.Thread(target=watch, name="ready", daemon=True).start()
