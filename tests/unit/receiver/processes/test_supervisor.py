"""A supervisor stops everything that it started, and starts no process again whose configuration is wrong."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from receiver.processes.supervisor import Child, ChildStartError, Supervisor
from runtime.supervised import READY
from tests.support.service import eventually


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


#: Reports that it is ready, and at SIGTERM ends only once the file exists of which the name stands in its place.
WAITS = f"""
import os, pathlib, signal, sys, time
def stop(*_):
    pathlib.Path(NAME + " stops").touch()
    while not pathlib.Path(AWAITED).exists():
        time.sleep(0.01)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
{REPORT}
time.sleep(60)
"""


def waiting_child(folder: Path, name: str, awaited: str, *, brings_work: bool = False) -> Child:
    """Return a child that notes that it stops, and ends once the awaited file exists."""
    code = WAITS.replace("NAME", repr(str(folder / name))).replace("AWAITED", repr(str(folder / awaited)))
    return Child(name, [sys.executable, "-c", code], brings_work=brings_work)


def supervise(children: Sequence[Child]) -> threading.Thread:
    """Supervise children until all are ready, and return the thread that stops them."""
    supervisor = Supervisor(children, shutdown_seconds=60)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    eventually(lambda: all(child.is_ready for child in children))
    supervisor.stop()
    return thread


def test_children_stop_together(tmp_path: Path) -> None:
    children = [waiting_child(tmp_path, "a", "b stops"), waiting_child(tmp_path, "b", "a stops")]
    supervise(children).join(50)
    assert [child.process and child.process.returncode for child in children] == [0, 0]


def test_what_brings_work_in_is_stopped_before_the_others(tmp_path: Path) -> None:
    worker = waiting_child(tmp_path, "worker", "worker may end")
    receiver = waiting_child(tmp_path, "receiver", "receiver may end", brings_work=True)
    thread = supervise([worker, receiver])
    eventually((tmp_path / "receiver stops").exists)
    assert not (tmp_path / "worker stops").exists()
    (tmp_path / "receiver may end").touch()
    eventually((tmp_path / "worker stops").exists)
    assert receiver.process is not None
    assert receiver.process.returncode == 0
    (tmp_path / "worker may end").touch()
    thread.join(50)
    assert not thread.is_alive()


def test_no_descriptor_is_left() -> None:
    before = set(os.listdir("/proc/self/fd"))
    child = python("raise SystemExit(1)")
    run(child, lambda: child.starts == 2)
    assert set(os.listdir("/proc/self/fd")) <= before
