"""Trials: one thread alone, or any number together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

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
