"""Long work shows its progress in one way, and finishes its chunk before it stops."""

from __future__ import annotations

import signal
from io import StringIO
from pathlib import Path

import pytest
import structlog
from rich.console import Console
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


def test_the_piece_under_way_is_on_the_screen_and_at_the_end_all_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    screen = Console(file=shown, force_terminal=True, width=120, height=5)
    monkeypatch.setattr(progress, "errors", screen)
    with WorkProgress("compared") as work:
        for number in range(20):
            piece = work.begin(1, kind=f"kind {number:02}")
            piece.advance(1)
            assert f"kind {number:02}" in shown.getvalue()
        shown.truncate(0)
    assert [number for number in range(20) if f"kind {number:02}" not in shown.getvalue()] == []


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_piece_that_is_left_for_others_says_why(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    monkeypatch.setattr(progress, "errors", Console(file=shown, force_terminal=is_terminal, width=40))
    monkeypatch.setattr(progress, "logger", structlog.get_logger())
    with capture_logs() as lines, WorkProgress("compared") as work:
        piece = work.begin(1, tenant="acme", kind="evse")
        piece.leave("waits 40 s, and other tenants come first: AMPECO gave no answer")
    said = shown.getvalue() + "".join(f"{line['tenant']}: {line['kind']} {line['note']}" for line in lines)
    assert "acme: evse waits 40 s, and other tenants come first: AMPECO gave no answer" in said


def test_without_a_terminal_a_line_is_written_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "logger", structlog.get_logger())
    with capture_logs() as lines, WorkProgress("notifications") as work:
        piece = work.begin(None, tenant="demo")
        for done in range(100):
            piece.advance(done)
    assert lines == []
