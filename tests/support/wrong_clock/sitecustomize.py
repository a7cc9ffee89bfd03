"""Loaded at the start of a Python under a wrong clock; see tests/support/clock.py."""

import select
import time


def sleep(seconds: float) -> None:
    """Sleep without ``clock_nanosleep``, which fails under libfaketime where the monotonic clock is left alone."""
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


time.sleep = sleep
