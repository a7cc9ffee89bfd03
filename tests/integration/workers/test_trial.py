"""Trials: one thread alone, or any number together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from storage.ids import uuid7
from storage.inbox.batches import Batch
from workers.apply import apply
from workers.apply.trial import Trials


def test_who_tries_alone_waits_for_the_others_and_keeps_them_away() -> None:
    trials, order = Trials(), list[str]()
    first_is_in, first_may_end, alone_may_end, alone_is_in = (threading.Event() for _ in range(4))

    def first() -> None:
        with trials.together():
            first_is_in.set()
            first_may_end.wait(10)
            order.append("first")

    def alone() -> None:
        with trials.alone():
            alone_is_in.set()
            alone_may_end.wait(10)
            order.append("alone")

    def late() -> None:
        with trials.together():
            order.append("late")

    with ThreadPoolExecutor(3) as threads:
        # Given a thread that applies, and one that waits to be alone
        done = [threads.submit(first)]
        assert first_is_in.wait(10)
        done.append(threads.submit(alone))
        assert not alone_is_in.wait(0.1)
        # When the first ends and a late one comes while the other is alone
        first_may_end.set()
        assert alone_is_in.wait(10)
        done.append(threads.submit(late))
        assert order == ["first"]
        alone_may_end.set()
        for future in done:
            future.result(10)
    # Then each had its turn
    assert order == ["first", "alone", "late"]


def test_any_number_apply_together() -> None:
    trials, both = Trials(), threading.Barrier(2, timeout=10)

    def apply() -> None:
        with trials.together():
            both.wait()

    with ThreadPoolExecutor(2) as threads:
        for future in [threads.submit(apply), threads.submit(apply)]:
            future.result(10)


def test_no_notification_is_tried_alone_while_another_thread_applies(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the record of the one would blame it for what the other did."""
    order: list[str] = []
    chunk_is_in, chunk_may_end, alone_is_in = (threading.Event() for _ in range(3))

    def chunk(*_: object) -> int:
        chunk_is_in.set()
        chunk_may_end.wait(10)
        order.append("chunk")
        return 1

    def one_by_one(*_: object) -> int:
        alone_is_in.set()
        order.append("alone")
        return 1

    monkeypatch.setattr(apply, "_apply_chunk", chunk)
    monkeypatch.setattr(apply, "_apply_one_by_one", one_by_one)
    now = datetime.now(UTC)
    fresh, suspected = (Batch("t", uuid7(), now, now, now, attempts, None, 0) for attempts in (1, 3))
    with ThreadPoolExecutor(2) as threads:
        done = [threads.submit(apply._apply, engine, [fresh])]
        assert chunk_is_in.wait(10)
        done.append(threads.submit(apply._apply, engine, [suspected]))
        assert not alone_is_in.wait(0.1)
        chunk_may_end.set()
        for future in done:
            future.result(10)
    assert order == ["chunk", "alone"]
