"""What the files of ``deploy/`` are held against: linters, the command line, and the settings."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from receiver.console.serve import SHUTDOWN_SECONDS
from runtime.background import END_SECONDS
from runtime.heartbeat import STOP_SECONDS
from runtime.settings import Settings, environment_name
from tests.support.programs import receiver_program

ROOT = Path(__file__).parents[2]

#: The names of every variable that is a setting.
SETTINGS = {environment_name(field) for field in Settings.model_fields}

#: What the supervisor of `work` and `up` adds to each process's time to stop.
SUPERVISOR_MARGIN = timedelta(seconds=5)


def lint(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a linter of the development group; one that is missing is an error, not a reason to skip."""
    program = Path(sys.executable).parent / tool
    assert program.exists(), f"{tool} is not installed: run `make lint`"
    return subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def _default(field: str) -> timedelta:
    """Return the default of a setting that is a duration."""
    value: timedelta = Settings.model_fields[field].default
    return value


def check_command(arguments: list[str]) -> None:
    """Fail unless ``ampeco-receiver`` takes these arguments."""
    commands = receiver_program().commands
    name, *rest = arguments
    assert name in commands
    commands[name].make_context(name, rest)


def needed_to_stop(arguments: list[str]) -> timedelta:
    """Return the longest that a stop takes with the default settings."""
    if arguments == ["console"]:
        return timedelta(seconds=SHUTDOWN_SECONDS)
    longest = _default("shutdown_timeout") + SUPERVISOR_MARGIN
    if arguments[0] == "serve":
        beats = timedelta(seconds=END_SECONDS + STOP_SECONDS)  # while Postgres does not answer
        longest = _default("shutdown_timeout") + _default("commit_timeout") + beats
    return longest
