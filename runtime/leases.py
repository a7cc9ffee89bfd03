"""Renewal of leases while their holder lives, so that leases can be short."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from runtime.logging import get_logger

logger = get_logger(__name__)

#: A third of the shortest lease, so that one renewal may fail.
RENEW_INTERVAL_SECONDS = 5.0


@contextlib.contextmanager
def renewed(renew: Callable[[], object]) -> Iterator[None]:
    """Renew a lease every few seconds until the block ends, from a thread of its own.

    A renewal that fails is retried at the next interval. If the lease was lost, its holder notices when it writes.

    Parameters:
        renew: extends the lease from now on.
    """
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(RENEW_INTERVAL_SECONDS):
            try:
                renew()
            except (SQLAlchemyError, RedisError) as error:
                logger.warning("lease not renewed", error=type(error).__name__)

    thread = threading.Thread(target=run, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        # The caller may close the connections that a renewal in progress uses.
        thread.join()
