"""The commands that do the same as pages of the console."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

import pytest

from receiver.console.command_lines import replay_command
from storage.ids import uuid7
from storage.log.scope import BEFORE_ANY, Scope

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
NOTIFICATION_ID = uuid7()


@pytest.mark.parametrize(
    ("scope", "options"),
    [
        (Scope("t", NOW, NOW), ["--from", "2026-03-04T12:00:00Z", "--to", "2026-03-04T12:00:00Z"]),
        (Scope("t", BEFORE_ANY, NOW, state="failed"), ["--to", "2026-03-04T12:00:00Z", "--state=failed"]),
        (Scope("t", NOW, NOW, notification_id=NOTIFICATION_ID), [f"--id={NOTIFICATION_ID}"]),
        (
            Scope("t", BEFORE_ANY, NOW, state="failed", containing="-a 'b'", session_id=5),
            ["--to", "2026-03-04T12:00:00Z", "--state=failed", "--session=5", "--containing=-a 'b'"],
        ),
    ],
)
def test_a_replay_is_shown_as_the_command_for_a_shell(scope: Scope, options: list[str]) -> None:
    assert shlex.split(replay_command(scope)) == ["ampeco-receiver", "replay", "--tenant", "t", *options]
