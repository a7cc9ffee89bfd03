"""No process runs what lies in the folder that the service happens to be started in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.processes.supervisor import module_command
from tests.support.processes import end, is_ready, processes
from tests.support.service import eventually, free_port

PROGRAM = Path(sys.executable).parent / "ampeco-receiver"

#: Of ours, and of Python's that a process imports early on.
PLANTED = (
    "receiver",
    "runtime",
    "storage",
    "workers",
    "migrations",
    "simulator",
    "multiprocessing",
    "signal",
    "uvicorn",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder full of modules that leave a trace when they run."""
    found = tmp_path / "planted"
    found.mkdir()
    for name in PLANTED:
        (found / f"{name}.py").write_text(f"open({str(found / 'ran')!r}, 'a').write({name + ' '!r})\n")
    monkeypatch.chdir(found)
    return found


def what_ran(folder: Path) -> str:
    trace = folder / "ran"
    return trace.read_text() if trace.exists() else ""


@pytest.mark.parametrize("module", ["receiver", "simulator"])
def test_what_we_start_imports_nothing_of_the_current_folder(folder: Path, module: str) -> None:
    subprocess.run(module_command(module, "--help"), check=True, capture_output=True, timeout=60)
    assert what_ran(folder) == ""


@pytest.mark.parametrize(
    "arguments", [["serve", "--processes", "2"], pytest.param(["up"], marks=pytest.mark.long)], ids=" ".join
)
def test_neither_does_the_service_with_all_its_processes(
    folder: Path, tmp_path: Path, database_url: str, redis_url: str, arguments: list[str]
) -> None:
    with processes(database_url, redis_url, tmp_path) as service:
        port = str(free_port())
        with service.log.open("ab") as log:
            process = subprocess.Popen(
                [PROGRAM, *arguments],
                env=os.environ | service.environment | {"RECEIVER_PORT": port, "RECEIVER_ADMIN_PORT": "0"},
                stdout=log,
                stderr=log,
            )
        service.started.append(process)
        eventually(lambda: is_ready(f"http://127.0.0.1:{port}"), seconds=100)
        if arguments == ["up"]:
            eventually(lambda: service.log.read_text().count('"working"') == 4, seconds=60)
        end(process)
    assert what_ran(folder) == ""
