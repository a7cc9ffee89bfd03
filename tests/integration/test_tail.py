"""``tail`` writes a line for each notification as it is committed, and ends as a filter of a shell does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import pytest

from tests.support.commands import ROOT, fork, run
from tests.support.facts import sample
from tests.support.processes import Process
from tests.support.service import Service, eventually

COMMANDS = (ROOT / "docs" / "operations" / "commands.md").read_text()


@dataclass
class Follower:
    """A running ``tail``, and what reads its output."""

    process: Process
    output: IO[str]
    errors: Path


@contextlib.contextmanager
def following(service: Service, directory: Path, *arguments: str, as_program: bool = False) -> Iterator[Follower]:
    """Run ``tail`` from now on, however long it takes to start.

    Parameters:
        as_program: run it in a new interpreter, whose output is buffered as that of an operator's.
    """
    settings = service.settings
    environment = os.environ | {
        "DATABASE_URL": settings.required_database_url(),
        "REDIS_URL": settings.required_redis_url(),
        "TENANTS_FILE": str(settings.tenants_file),
    }
    environment.pop("PYTHONUNBUFFERED", None)
    command = ["-m", "receiver", "tail", "--since", datetime.now(UTC).isoformat(), *arguments]
    reader, writer = os.pipe()
    errors = directory / "errors.log"
    with open(reader, encoding="utf-8") as output, errors.open("wb") as log:
        process: Process = (
            subprocess.Popen([sys.executable, *command], env=environment, stdout=writer, stderr=log)
            if as_program
            else fork(directory, command, environment, writer, log.fileno())
        )
        os.close(writer)

        try:
            yield Follower(process, output, errors)
        finally:
            process.kill()
            process.wait()


def test_a_line_shows_each_notification_as_it_is_committed_and_ctrl_c_ends_it_well(
    service: Service, tmp_path: Path
) -> None:
    with following(service, tmp_path, "--tenant", "demo") as follower:
        posted = service.post(sample("session.start.stop.notification.start"))
        line = follower.output.readline()
        assert posted.json()["id"] in line
        assert "demo  session.start.stop.notification  session:" in line
        assert "pending" in line
        follower.process.send_signal(signal.SIGINT)
        assert follower.process.wait(30) == 0
        assert follower.output.read() == ""


def test_json_is_one_object_in_each_line_and_filters_apply(service: Service, tmp_path: Path) -> None:
    filters = ("--type", "*.changed", "--type", "from*", "--state", "ignored", "--json")
    with following(service, tmp_path, *filters) as follower:
        service.post(sample("HardwareStatusNotification.evse"))
        service.post(sample("evse.changed"))
        posted = service.post({"notification": "fromTheFuture"})
        eventually(service.apply)
        shown = json.loads(follower.output.readline())
        assert (shown["notification_id"], shown["state"]) == (posted.json()["id"], "ignored")
        assert shown["received_at"].endswith("+00:00")
        documented = re.findall(r"^\| `tail` \| `(\w+)`", COMMANDS, re.MULTILINE)
        assert list(shown) == documented
        follower.process.send_signal(signal.SIGTERM)
        assert follower.process.wait(30) == 128 + signal.SIGTERM


def test_a_closed_pipe_ends_it_quietly(service: Service, tmp_path: Path) -> None:
    with following(service, tmp_path, as_program=True) as follower:
        follower.output.close()
        service.post(sample("evse.changed"))
        assert follower.process.wait(30) == 128 + signal.SIGPIPE
        assert follower.errors.read_text() == ""


@pytest.mark.parametrize("entity", ["session", "session:x", "tariff:5", ":5"])
def test_an_entity_that_the_log_cannot_be_searched_for_is_refused(tmp_path: Path, entity: str) -> None:
    refused = run(tmp_path, "tail", "--entity", entity)
    assert refused.returncode == 2
    assert "session, evse, charge_point" in " ".join(refused.stderr.replace("│", " ").split())
