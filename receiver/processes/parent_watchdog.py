"""End a process when the process that started and supervises it is gone.

A supervisor that is killed cannot stop its children. Without this they would serve and work beside the processes of the
next supervisor, with outdated settings, and nothing would stop them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

from runtime.background import supervised_thread
from runtime.logging import get_logger
from runtime.supervised import PARENT

logger = get_logger(__name__)

CHECK_INTERVAL_SECONDS = 1.0


def leave_with_parent() -> None:
    """Watch the process that started this one, and end as with SIGTERM when it is gone.

    Nothing happens if none of our processes started this one, as from a shell or by systemd.
    """
    started_by = os.environ.pop(PARENT, None)
    spawned_by = multiprocessing.parent_process()
    if spawned_by is not None and spawned_by.pid is not None:
        parent = spawned_by.pid
    elif started_by is not None:
        parent = int(started_by)
    else:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(CHECK_INTERVAL_SECONDS)
        logger.warning("the process that started this one is gone: stopping", parent=parent)
        os.kill(os.getpid(), signal.SIGTERM)

    supervised_thread("leave with parent", watch).start()
