"""Processes that share a port share their counters, and the gauges of a process end with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from receiver.admin.metrics_page import counters


def test_a_single_process_shows_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    assert counters() is REGISTRY


@pytest.mark.process
def test_gauges_of_a_process_that_is_gone_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    gone, living = (tmp_path / f"gauge_livesum_{pid}.db" for pid in (ended.pid, os.getpid()))
    for path in (gone, living):
        path.touch()
    assert counters() is not REGISTRY
    assert [path.name for path in tmp_path.iterdir()] == [living.name]
