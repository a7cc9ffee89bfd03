"""Jobs that a process repeats beside its queues, each in a thread of its own, by the monotonic clock.

Changes of the wall clock affect no job, and a job that fails or hangs delays no other job.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from runtime.background import BACKGROUND_FAILURES
from runtime.errors import describe
from runtime.logging import Throttle, get_logger
from workers.metrics import JOB_AGE, JOB_OVERDUE

logger = get_logger(__name__)

#: How long a thread sleeps at a time, and so how soon it notices that it has to stop. ``Event.wait`` would return at
#: once, but uses the wall clock if Python was built for an old C library.
NAP_SECONDS = 0.2

#: A job is overdue if it has not succeeded for so many of its intervals, and for at least a minute.
INTERVALS_UNTIL_OVERDUE = 5
MIN_SECONDS_UNTIL_OVERDUE = 60.0


@dataclass
class _Job:
    name: str
    seconds: float
    run: Callable[[], Any]
    succeeded_at: float = field(default_factory=time.monotonic)

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self.succeeded_at

    @property
    def is_overdue(self) -> bool:
        return self.age_seconds > max(self.seconds * INTERVALS_UNTIL_OVERDUE, MIN_SECONDS_UNTIL_OVERDUE)


class Scheduler:
    """Runs jobs at intervals, the first time at once; a run that takes longer than its interval skips the next."""

    def __init__(self) -> None:
        self._jobs: list[_Job] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._is_new = Throttle()

    @property
    def names(self) -> list[str]:
        """The names of the jobs, in the order in which they were added."""
        return [job.name for job in self._jobs]

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads of the jobs; empty before :meth:`start`."""
        return list(self._threads)

    def every(self, interval: timedelta, name: str, job: Callable[[], Any]) -> None:
        """Add a job.

        Parameters:
            interval: the time from the start of a run to the start of the next.
            name: its name in the log and in metrics.
            job: the function to run.
        """
        BACKGROUND_FAILURES.labels(name)  # from 0 on, for ``increase()``
        self._jobs.append(_Job(name, interval.total_seconds(), job))

    def start(self) -> None:
        """Start the jobs, each in a thread of its own."""
        for job in self._jobs:
            job.succeeded_at = time.monotonic()
            JOB_AGE.labels(job.name).set_function(lambda job=job: job.age_seconds)  # type: ignore[misc] # bound here
            JOB_OVERDUE.labels(job.name).set_function(lambda job=job: job.is_overdue)  # type: ignore[misc] # bound here
            thread = threading.Thread(target=self._repeat, args=(job,), name=f"job {job.name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Start no further run."""
        self._stopping.set()

    def join(self, *, timeout_seconds: float) -> None:
        """Wait for the running jobs."""
        deadline = time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        if hanging := [thread.name for thread in self._threads if thread.is_alive()]:
            logger.warning("jobs did not end in time", jobs=hanging)

    def overdue(self) -> list[str]:
        """Return the jobs that have not succeeded for several of their intervals."""
        return [job.name for job in self._jobs if job.is_overdue]

    def _repeat(self, job: _Job) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            self._run(job)
            due = max(due + job.seconds, time.monotonic())
            while not self._stopping.is_set() and (left := due - time.monotonic()) > 0:
                time.sleep(min(left, NAP_SECONDS))

    def _run(self, job: _Job) -> None:
        try:
            job.run()
        except (RedisError, SQLAlchemyError) as error:
            # The server is down, which the readiness checks report; the next run is soon.
            if self._is_new((job.name, type(error))):
                logger.warning("job postponed", job=job.name, error=describe(error))
        except Exception:
            BACKGROUND_FAILURES.labels(job.name).inc()
            logger.exception("job failed", job=job.name)
        else:
            job.succeeded_at = time.monotonic()
