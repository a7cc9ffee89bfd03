"""Each exit code that docs/operations/commands.md lists is that of a command, and no command has another."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.support.commands import ROOT, fork, run
from tests.support.service import write_tenants

_PAGE = (ROOT / "docs" / "operations" / "commands.md").read_text()
CODES = set(
    map(int, re.findall(r"^\| (\d+) \|", _PAGE.partition("## Exit codes")[2].partition("\n## ")[0], re.MULTILINE))
)

#: Commands that end by themselves, with their exit code.
ENDING = {
    ("--version",): 0,
    ("trigger", "--list"): 0,
    ("check",): 0,
    ("doctor",): 1,
    ("status",): 2,
    ("status", "--colour"): 2,
    ("no-command",): 2,
}

SIGNALS = {130: signal.SIGINT, 143: signal.SIGTERM}


def test_every_documented_code_is_tried() -> None:
    assert {*ENDING.values(), *SIGNALS, 128 + signal.SIGPIPE} == CODES


@pytest.mark.parametrize("arguments", ENDING)
def test_a_command_ends_with_its_documented_code(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write_tenants(tmp_path)
    servers = {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"}
    done = run(tmp_path, *arguments, **servers)
    assert done.returncode == ENDING[arguments], done.stderr


#: Commands that print by each of the ways in which commands print.
PRINTING = [
    ("--version",),
    ("--help",),
    ("check",),
    ("trigger", "--list"),
    ("trigger", "--list", "--json"),
    ("doctor",),
]


def printing_to(output: int, directory: Path, arguments: tuple[str, ...]) -> tuple[int, str]:
    """Run a command with this standard output; return its exit code and what it says."""
    write_tenants(directory)
    environment = os.environ | {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"}
    with (directory / "errors").open("wb") as errors:
        process = fork(directory, ["-m", "receiver", *arguments], environment, output, errors.fileno())
        code = process.wait(60)
    return code, (directory / "errors").read_text()


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_full_disk_behind_the_output_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        code, said = printing_to(full.fileno(), tmp_path, arguments)
    assert (code, said.splitlines()[-1]) == (2, "ampeco-receiver: standard output: No space left on device")


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_closed_pipe_ends_a_command_quietly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        code, said = printing_to(writer, tmp_path, arguments)
    finally:
        os.close(writer)
    assert (code, said) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("code", SIGNALS)
def test_a_command_that_a_signal_stops_ends_with_its_code(tmp_path: Path, code: int) -> None:
    write_tenants(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent, (tmp_path / "output").open("wb") as output:
        silent.settimeout(60)
        url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/x"
        environment = os.environ | {"DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1"}
        process = fork(tmp_path, ["-m", "receiver", "status"], environment, output.fileno(), output.fileno())
        with silent.accept()[0]:
            process.send_signal(SIGNALS[code])
            assert process.wait(30) == code
