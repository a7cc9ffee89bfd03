"""A wrong clock for real processes, by libfaketime: only the wall clock is wrong, never the monotonic one.

Timeouts of locks, queues, ``select``, asyncio and uvloop are as they should be in such a process. ``time.sleep`` of
Python 3.11 and later is not: it waits by ``clock_nanosleep`` until a monotonic time, of which libfaketime 0.9.10
makes a time in the past unless it fakes that clock, too. So such a Python sleeps otherwise: see
``wrong_clock/sitecustomize.py``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tests.support.needs import needs

#: Where Debian and Fedora put it, for any architecture.
_LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")


@dataclass(frozen=True)
class WrongClock:
    """A clock that can be set while the processes that see it run.

    Attributes:
        path: the file that holds the offset.
    """

    path: Path

    def __post_init__(self) -> None:
        self.set(timedelta(0))

    def set(self, offset: timedelta) -> None:
        """Move the clock to so much after the right time (before it, where negative)."""
        written = self.path.with_suffix(".new")
        written.write_text(f"{offset.total_seconds():+.3f}\n")
        written.chmod(0o644)
        written.replace(self.path)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to see this clock."""
        return {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(self.path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": str(Path(__file__).parent / "wrong_clock"),
        }


def library() -> str:
    """The path of libfaketime; the test is skipped where there is none, but never in CI."""
    found = [str(path) for pattern in _LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))]
    assert "LD_PRELOAD" not in os.environ
    return needs(found[0] if found else None, "faketime")
