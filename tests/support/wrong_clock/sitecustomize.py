"""Python loads this module when it starts under a wrong clock; see tests/support/clock.py."""

from __future__ import annotations

import select
import time


def sleep(seconds: float) -> None:
    """Sleep without ``clock_nanosleep``, which fails under libfaketime if the monotonic clock is not faked."""
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


time.sleep = sleep  # type: ignore[assignment] # of whole and fractional seconds, as everywhere
