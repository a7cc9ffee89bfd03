"""A supervisor stops everything that it started, and starts no process again whose configuration is wrong."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

import pytest

from receiver.processes.supervisor import Child, ChildStartError, Supervisor
from runtime.supervised import READY


def python(code: str) -> Child:
    """Return a child that runs this code."""
    return Child("child", [sys.executable, "-c", code])


def run(child: Child, until: Callable[[], bool]) -> None:
    """Supervise a child until the condition holds."""

    def wait(stop: threading.Event) -> None:
        deadline = time.monotonic() + 60
        while not until() and not stop.is_set():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    Supervisor([child], shutdown_seconds=20).run(wait)


pytestmark = pytest.mark.process

REPORT = f"import os; os.write(int(os.environ['{READY}'].partition(':')[0]), b'1')"


def test_a_child_that_reports_it_is_ready() -> None:
    child = python(f"import time; {REPORT}; time.sleep(60)")
    assert not child.is_ready
    run(child, lambda: child.is_ready)
    assert child.starts == 1


def test_a_mistake_in_the_configuration_ends_the_supervisor() -> None:
    child = python("raise SystemExit(2)")
    with pytest.raises(ChildStartError):
        run(child, lambda: False)
    assert child.starts == 1


@pytest.mark.parametrize("code", ["raise SystemExit(1)", f"{REPORT}; raise SystemExit(2)"], ids=["fault", "was ready"])
def test_any_other_end_is_followed_by_a_start(code: str) -> None:
    child = python(code)
    run(child, lambda: child.starts == 2)


class SlowChild(Child):
    """A child that a stop comes to while it is started again."""

    stop: Callable[[], None]

    def start(self, output: object) -> None:
        """Start it, the second time slowly."""
        if self.starts == 1:
            self.stop()
            time.sleep(0.5)
        super().start(None)


def test_a_child_that_is_started_again_while_a_stop_comes_is_stopped_too() -> None:
    child = SlowChild("child", [sys.executable, "-c", "import os, time; os.environ.get('AGAIN') and time.sleep(60)"])
    supervisor = Supervisor([child], shutdown_seconds=20)

    def stop() -> None:
        child.environment["AGAIN"] = "1"
        supervisor.stop()

    child.stop = stop
    supervisor.run()
    assert child.starts == 2
    assert child.process is not None
    assert child.process.returncode is not None


def test_no_descriptor_is_left() -> None:
    before = set(os.listdir("/proc/self/fd"))
    child = python("raise SystemExit(1)")
    run(child, lambda: child.starts == 2)
    assert set(os.listdir("/proc/self/fd")) <= before
