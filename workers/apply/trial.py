"""Trials: a worker that may die of a notification tries nothing else in its process at the same time.

A notification that ends its worker is found by trying it alone, after its id was recorded. The record blames it only if
the process did nothing else then: another thread may have met the poison message.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Trials:
    """Lets any number of threads apply chunks together, or one thread alone try single notifications."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._together = 0
        self._is_alone = False

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Apply beside other threads, while no thread needs to be alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone)
            self._together += 1
        try:
            yield
        finally:
            with self._changed:
                self._together -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Apply while no other thread of the process does."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone)
            self._is_alone = True
            try:
                self._changed.wait_for(lambda: not self._together)
            except BaseException:
                self._is_alone = False
                self._changed.notify_all()
                raise
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
                self._changed.notify_all()
