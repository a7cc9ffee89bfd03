"""Long work shows its progress in one way, and finishes its chunk before it stops."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from receiver.commands import progress
from receiver.commands.progress import WorkProgress, until_asked_to_stop
from tests.support.callbacks import used_by


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_was_asked_to_stop_ends_with_the_code_of_the_signal(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with until_asked_to_stop() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.is_set()
        assert stop.exit_code == 128 + number
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    "command", ["backfill", "reconcile", "rebuild", "replay", "erase", "derive", "export", "migrate"]
)
def test_every_command_with_long_work_shows_its_progress(command: str) -> None:
    assert WorkProgress in used_by(command)


def test_no_command_has_a_bar_of_its_own() -> None:
    commands = Path(progress.__file__).parent
    assert [path.name for path in commands.glob("*.py") if "rich.progress" in path.read_text()] == ["progress.py"]


def test_without_a_terminal_the_progress_is_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(progress, "logger", structlog.get_logger())
    with capture_logs() as lines, WorkProgress("notifications") as work:
        piece = work.begin(4, tenant="demo")
        piece.advance(1, reached_at="2026-03-04")
        piece.advance(2, total=8)
        piece.note("waits 2 s: the tenant is paused")
        piece.end()
    first, second, third = lines
    assert first["event"] == second["event"] == third["event"] == "progress"
    assert (first["tenant"], first["notifications"], first["of"], first["reached_at"]) == ("demo", 1, 4, "2026-03-04")
    assert (second["notifications"], second["of"]) == (2, 8)
    assert second["seconds_left"] >= 0
    assert third["note"] == "waits 2 s: the tenant is paused"


def test_without_a_terminal_a_line_is_written_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "logger", structlog.get_logger())
    with capture_logs() as lines, WorkProgress("notifications") as work:
        piece = work.begin(None, tenant="demo")
        for done in range(100):
            piece.advance(done)
    assert lines == []
