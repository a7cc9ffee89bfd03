"""Directories for the servers of tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: A file system in memory. The tests are about killed processes, never about a loss of power, and a server with
#: its data here makes a database in a tenth of the time.
MEMORY = Path("/dev/shm")

#: The free space without which it is not used.
ENOUGH_BYTES = 4 << 30


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """Make a directory with a path short enough for a socket in it, which the servers' user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="rt-", dir=_parent()))
    directory.chmod(0o777)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _parent() -> Path | None:
    is_usable = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ENOUGH_BYTES
    return MEMORY if is_usable else None
