"""Jobs beside the queues: one that fails, hangs or is overtaken by the wall clock holds up no other."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support.clock import WrongClock
from tests.support.service import eventually
from workers import scheduler as module
from workers.scheduler import Scheduler

OFTEN = timedelta(milliseconds=10)


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    made = Scheduler()
    yield made
    made.stop()
    made.join(timeout_seconds=30)


def test_a_job_that_fails_or_hangs_holds_up_no_other_and_is_tried_again(scheduler: Scheduler) -> None:
    runs: Counter[str] = Counter()
    released = threading.Event()

    def run(name: str, then: Any = None) -> None:
        runs[name] += 1
        if isinstance(then, Exception):
            raise then
        if then is not None:
            then.wait()

    scheduler.every(OFTEN, "sound", lambda: run("sound"))
    scheduler.every(OFTEN, "failing", lambda: run("failing", ValueError("a fault of ours")))
    scheduler.every(OFTEN, "put off", lambda: run("put off", RedisConnectionError("Redis is down")))
    scheduler.every(OFTEN, "hanging", lambda: run("hanging", released))
    scheduler.start()
    eventually(lambda: min(runs[name] for name in ("sound", "failing", "put off")) >= 5)
    assert runs["hanging"] == 1
    released.set()
    eventually(lambda: runs["hanging"] >= 2)


def test_a_job_runs_at_once_and_never_beside_itself(scheduler: Scheduler) -> None:
    ran = threading.Event()
    scheduler.every(timedelta(days=1), "rare", ran.set)
    under_way: list[int] = []
    most: list[int] = []

    def slow() -> None:
        under_way.append(1)
        most.append(len(under_way))
        threading.Event().wait(0.03)
        under_way.pop()

    scheduler.every(OFTEN, "slow", slow)
    scheduler.start()
    assert ran.wait(30)
    eventually(lambda: len(most) >= 5)
    assert max(most) == 1


def test_a_job_that_does_not_succeed_any_more_is_overdue_and_its_age_a_metric(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_SECONDS_UNTIL_OVERDUE", 0.05)
    is_broken = threading.Event()

    def job() -> None:
        if is_broken.is_set():
            raise ValueError("a fault of ours")

    scheduler.every(OFTEN, "breaking", job)
    scheduler.every(timedelta(days=1), "rare", lambda: None)
    scheduler.start()
    eventually(lambda: scheduler.overdue() == [])
    is_broken.set()
    eventually(lambda: scheduler.overdue() == ["breaking"])
    assert REGISTRY.get_sample_value("ampeco_job_overdue", {"task": "breaking"}) == 1
    assert REGISTRY.get_sample_value("ampeco_job_overdue", {"task": "rare"}) == 0
    assert (REGISTRY.get_sample_value("ampeco_job_age_seconds", {"task": "breaking"}) or 0) > 0.05
    is_broken.clear()
    eventually(lambda: scheduler.overdue() == [])


#: Runs a job ten times a second and writes down each run.
REPEATING = """
import sys, threading
from datetime import timedelta
from workers.scheduler import Scheduler

scheduler = Scheduler()
scheduler.every(timedelta(seconds=0.1), "count", lambda: print("run", flush=True))
scheduler.start()
sys.stdin.read()
"""


@pytest.mark.process
def test_a_wall_clock_that_is_set_back_stops_no_job(tmp_path: Path) -> None:
    clock = WrongClock(tmp_path / "clock")

    def runs() -> int:
        return (tmp_path / "runs").read_text().count("run")

    def has_run(times: int) -> bool:
        return runs() >= times

    with (
        (tmp_path / "runs").open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-c", REPEATING], env=clock.environment, stdin=subprocess.PIPE, stdout=output
        ) as process,
    ):
        eventually(lambda: runs() >= 3)
        for offset in (timedelta(hours=-2), timedelta(days=9), timedelta(0)):
            clock.set(offset)
            before = runs()
            eventually(partial(has_run, before + 5))
        process.kill()
