"""``up`` and ``work`` say that they receive once they do, and end in one sentence if a process cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.servers import descendants
from tests.support.service import eventually, free_port, write_tenants


@pytest.fixture
def start(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    ports = ("RECEIVER_PORT", "RECEIVER_ADMIN_PORT", "RECEIVER_CONSOLE_PORT")
    settings = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TENANTS_FILE": str(write_tenants(tmp_path)),
        "RECEIVER_LOG_LEVEL": "error",
        "COLUMNS": "60",
    } | {port: str(free_port()) for port in ports}

    def run(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "receiver", *arguments],
            env=os.environ | settings | environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("command", "setting"),
    [("up", "RECEIVER_PORT"), ("up", "RECEIVER_CONSOLE_PORT"), ("work", "RECEIVER_WORK_METRICS_PORT")],
)
def test_a_port_that_another_program_has_ends_it_with_the_sentence_of_its_process(
    start: Callable[..., subprocess.Popen[str]], command: str, setting: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start(command, **{setting: port})
        printed, said = process.communicate(timeout=100)
    assert process.returncode == 2
    assert said.splitlines() == [
        f"ampeco-receiver: {setting}: 127.0.0.1:{port} cannot be listened on: Address already in use; choose another"
        " port, or another host."
    ]
    if setting == "RECEIVER_PORT":
        assert "Receiving" not in printed
    else:
        assert "Console" not in printed


def test_its_addresses_are_printed_once_something_listens_there(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("up")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    for line in lines:
        (url,) = (word.rstrip(";") for word in line.split() if word.startswith("http://"))
        address = urlsplit(url)
        socket.create_connection((address.hostname, address.port), 10).close()
    assert any(line.startswith("Receiving on ") for line in lines)
    assert any(line.startswith("Console: ") for line in lines)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize("command", ["up", "work"])
def test_a_stop_before_its_processes_are_ready_is_silent(
    start: Callable[..., subprocess.Popen[str]], command: str
) -> None:
    process = start(command)
    # Each process that it starts has our handler of SIGTERM before it has imported most of what it needs.
    eventually(lambda: len(descendants(process.pid)) >= 4 and all(map(_handles_sigterm, descendants(process.pid))))
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def _handles_sigterm(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)
