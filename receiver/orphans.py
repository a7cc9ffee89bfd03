"""A process that another one started and watches leaves when that one is gone.

A supervisor that is killed cannot stop what it started. What went on would serve and work beside
its successors, stopped by nobody, with settings that are no longer so.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

from workers.background import supervised_thread
from workers.logs import get_logger

logger = get_logger(__name__)

#: Names the process that started this one, in its environment.
PARENT = "AMPECO_RECEIVER_STARTED_BY"

CHECK_INTERVAL_SECONDS = 1.0


def leave_with_parent() -> None:
    """From now on, end as with SIGTERM once the process that started this one is gone.

    A process that nobody of ours started, as from a shell or by systemd, is left alone.
    """
    told = os.environ.pop(PARENT, None)
    spawned_by = multiprocessing.parent_process()
    if spawned_by is not None and spawned_by.pid is not None:
        parent = spawned_by.pid
    elif told is not None:
        parent = int(told)
    else:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(CHECK_INTERVAL_SECONDS)
        logger.warning("the process that started this one is gone: leaving", parent=parent)
        os.kill(os.getpid(), signal.SIGTERM)

    supervised_thread("leave with parent", watch).start()
