"""Checks run in threads of their own, which a stop does not leave behind."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from runtime.readiness import Check, Probe, Readiness

FINE = {"server": Check(True, "answers")}


def test_a_stop_waits_for_the_check_that_is_under_way() -> None:
    has_begun, may_end = threading.Event(), threading.Event()
    ended: list[str] = []

    def look() -> Mapping[str, Check]:
        has_begun.set()
        may_end.wait(60)
        ended.append("check")
        return FINE

    readiness = Readiness(Probe("server", look, "bring it back"))
    asking = threading.Thread(target=readiness.checks)
    asking.start()
    has_begun.wait(60)
    threading.Timer(0.05, may_end.set).start()
    readiness.stop()
    ended.append("stop")
    asking.join()
    assert ended == ["check", "stop"]


def test_a_check_that_hangs_does_not_hold_up_a_stop_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()
    monkeypatch.setattr("runtime.readiness.STOP_SECONDS", 0.01)
    monkeypatch.setattr("runtime.readiness.ANSWER_SECONDS", 0.01)
    readiness = Readiness(Probe("server", lambda: {} if may_end.wait(60) else FINE, "bring it back"))
    readiness.checks()
    readiness.stop()
    may_end.set()


def test_after_a_stop_nothing_is_checked() -> None:
    looks: list[int] = []

    def look() -> Mapping[str, Check]:
        looks.append(1)
        return FINE

    readiness = Readiness(Probe("server", look, "bring it back"))
    readiness.stop()
    readiness.checks()
    assert not looks
