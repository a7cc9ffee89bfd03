"""A wrong clock for real processes, by libfaketime: only the wall clock is wrong, never the monotonic one.

Timeouts of locks, queues, ``select``, asyncio and uvloop are correct in such a process. ``time.sleep`` of Python 3.11
and later is not: it waits by ``clock_nanosleep`` until a monotonic time, which libfaketime 0.9.10 turns into a time in
the past unless it fakes that clock too. So such a Python gets another ``sleep`` from ``wrong_clock/sitecustomize.py``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tests.support.requirements import needs

#: The paths of the library in Debian and Fedora, for any architecture.
_LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")


@dataclass(frozen=True)
class WrongClock:
    """A clock that can be set while the processes that see it run.

    Attributes:
        path: the file with the offset.
    """

    path: Path

    def __post_init__(self) -> None:
        self.set(timedelta(0))

    def set(self, offset: timedelta) -> None:
        """Set the clock to ``offset`` after the correct time; a negative offset is before it."""
        written = self.path.with_suffix(".new")
        written.write_text(f"{offset.total_seconds():+.3f}\n")
        written.chmod(0o644)
        written.replace(self.path)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a process with this clock."""
        return {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(self.path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": str(Path(__file__).parent / "wrong_clock"),
        }


def library() -> str:
    """Return the path of libfaketime; skip the test if it is not installed, but never in CI."""
    paths = [str(path) for pattern in _LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))]
    assert "LD_PRELOAD" not in os.environ
    return needs(paths[0] if paths else None, "faketime")
