"""The ways in which a command ends before it is done: by a signal, or with an error in one sentence."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

from runtime.supervised import PARENT


def fail(message: str, *, code: int = 2) -> NoReturn:
    """Print in one sentence why a command ends, and end it."""
    print_failure(message)
    sys.exit(code)


def print_failure(message: str) -> None:
    """Print in one sentence what failed."""
    from receiver.terminal import errors  # which loads rich

    errors.print(f"ampeco-receiver: {message}", style="red", highlight=False, soft_wrap=True)


def fail_unexpectedly(error: Exception) -> NoReturn:
    """End a command after an error in our code.

    The message of the error is not shown, because it may contain a part of a password.
    """
    if os.environ.get("RECEIVER_LOG_LEVEL", "").lower() == "debug":
        traceback.print_exception(error)
    raised = traceback.extract_tb(error.__traceback__)[-1]
    place = "/".join(Path(raised.filename).parts[-2:])
    fail(
        f"an unexpected error stopped it: {type(error).__name__} in {place}, line {raised.lineno};"
        " run it again with RECEIVER_LOG_LEVEL=debug to see the traceback, and report it.",
        code=1,
    )


class Output:
    """Standard output, of which a failure ends the command in one way: no code that prints has to look for it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write a text."""
        with self._ending_on_failure():
            return self._file.write(text)

    def flush(self) -> None:
        """Write what is left."""
        with self._ending_on_failure():
            self._file.flush()

    @contextlib.contextmanager
    def _ending_on_failure(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # The interpreter writes what is left at its end, and would report the failure again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
            if isinstance(error, BrokenPipeError):  # the reader has ended, and needs no more
                sys.exit(128 + signal.SIGPIPE)
            fail(f"standard output: {error.strerror}")


@contextlib.contextmanager
def guarded_output() -> Iterator[None]:
    """End the command if standard output fails during the block, or what is left cannot be written after it."""
    if sys.stdout is None:  # it was closed before the start
        yield
        return
    file, sys.stdout = sys.stdout, Output(sys.stdout)
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        finally:
            sys.stdout = file


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """End the command on SIGTERM as on Ctrl-C, so that it releases its resources, with exit code 143.

    A process that another one of ours stops while it starts says nothing: that one was asked to stop, and knows it.

    Without a handler Linux does not deliver SIGTERM to the first process of a container. Commands that finish some work
    first install handlers of their own.
    """
    was_received = False
    is_supervised = PARENT in os.environ

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        nonlocal was_received
        was_received = True
        signal.signal(number, signal.SIG_IGN)  # the clean-up must not be interrupted
        # The only exception after which psycopg also cancels the running statement in Postgres.
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except BaseException:
        if was_received and is_supervised:
            sys.exit(128 + signal.SIGTERM)
        if was_received:
            fail("stopped by SIGTERM before it was done.", code=128 + signal.SIGTERM)
        raise
