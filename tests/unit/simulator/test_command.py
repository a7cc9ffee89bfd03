"""The command, as a newcomer runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import httpx
import pytest
from typer.testing import CliRunner

from simulator.cli import app
from simulator.settings import Faults
from tests.unit.simulator.support import RESOURCES

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "simulator"]


SMALL = ["run", "--port", "0", "--evses", "8", "--charge-points", "4", "--speed", "1440"]


def environment(**changes: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name != "AMPECO_SIMULATOR_TOKEN"}
    return plain | {"COLUMNS": "200", **changes}


def introduction(output: IO[str]) -> str:
    """What it says of itself once it serves."""
    text = ""
    while "Ctrl-C" not in text:
        line = output.readline()
        assert line, "it ended before it said how to stop it"
        text += line
    return text


def refused(*options: str) -> str:
    done = CliRunner().invoke(app, ["run", *options], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    return done.output


def begun(given: dict[str, str]) -> subprocess.Popen[str]:
    command = [*COMMAND, *SMALL]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment(**given)
    )


@pytest.mark.process
@pytest.mark.parametrize(
    ("stop", "given"),
    [(signal.SIGINT, {}), (signal.SIGTERM, {"AMPECO_SIMULATOR_TOKEN": "a-secret-of-the-environment"})],
    ids=["SIGINT, a token of its own", "SIGTERM, a token of the environment"],
)
def test_it_answers_where_it_says_shows_no_given_token_and_stops_cleanly(
    stop: signal.Signals, given: dict[str, str]
) -> None:
    with begun(given) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        printed = introduction(process.stdout)
        url = re.findall(r'base_url = "(.+)"', printed)[0]
        token = given.get("AMPECO_SIMULATOR_TOKEN") or re.findall(r'token = "(.+)"', printed)[0]
        for _ in range(100):
            try:
                answer = httpx.get(f"{url}{RESOURCES}/evses/v2.1", headers={"Authorization": f"Bearer {token}"})
                break
            except httpx.ConnectError:
                time.sleep(0.1)
        assert answer.status_code == 200
        assert len(answer.headers.get_list("date")) == 1
        process.send_signal(stop)
        assert process.wait(5) == 0
        left = process.stdout.read()
        assert left.startswith("Stopped.")
        assert process.stderr.read() == ""  # without a terminal it is quiet
    if given:
        assert 'token_env = "AMPECO_SIMULATOR_TOKEN"' in printed
        assert token not in printed + left


@pytest.mark.process
def test_a_taken_port_is_reported_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        error = refused("--port", str(taken.getsockname()[1]))
    assert len(error.strip().splitlines()) == 1
    assert "--port" in error


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--start", "soon"], "--start"),
        (["--evses", "0"], "--evses"),
        (["--drop", "2"], "--drop"),
        (["--delay-min-seconds", "9000"], "delay_min_seconds"),
        (["--delay-max-seconds", "inf"], "--delay-max-seconds"),
        (["--start", "0001-01-01T00:00:00Z"], "--start"),
        (["--speed", "inf"], "--speed"),
        (["--tenant-id", "a b"], "--tenant-id"),
        (["--token", "a b"], "--token"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(options: list[str], named: str) -> None:
    assert named in refused(*options)


def test_help_names_every_option_of_every_fault_and_the_page_describes_it() -> None:
    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "200"}).output
    page = (ROOT / "docs" / "simulator.md").read_text()
    options = set(re.findall(r"--[a-z0-9][a-z0-9-]+", shown)) - {"--help"}
    assert {f"--{name.replace('_', '-')}" for name in Faults.model_fields} <= options
    assert [option for option in sorted(options) if f"`{option}`" not in page] == []
    assert [name for name in Faults.model_fields if f"`{name}`" not in page] == []
