"""A demo keeps to itself: other commands reach it while it runs, and nothing of it remains."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import eventually


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_demos_keep_apart_are_reached_by_the_printed_line_and_leave_nothing(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    environment["COLUMNS"] = "200"
    demos = []
    for name in ("first", "second"):
        with (tmp_path / name).open("w") as output:
            command = [sys.executable, "-m", "receiver", "demo", "--seconds", "15"]
            demos.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=output, stderr=output))
    try:
        first = tmp_path / "first"
        eventually(lambda: " applied" in first.read_text(), seconds=100)
        (line,) = (line for line in first.read_text().splitlines() if line.startswith("Look at it"))
        _, _, beside = line.partition(": ")
        shown = subprocess.run(
            ["sh", "-c", beside], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert shown.returncode == 0, shown.stderr
        (tenant,) = set(re.findall(r"demo-\d+-\d+-\d+", shown.stdout))
        assert tenant in first.read_text()
        for demo in demos:
            assert demo.wait(100) == 0
    finally:
        for demo in demos:
            demo.terminate()
            demo.wait(60)
    assert list((tmp_path / ".local/demo").iterdir()) == []
    assert [folder.name for folder in (tmp_path / ".local").iterdir()] == ["demo"]
