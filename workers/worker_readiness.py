"""The readiness of a work process: it can consume messages, and write the results."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dramatiq import Worker
from sqlalchemy import Engine

from runtime.checks import POSTGRES_ADVICE, look_at_postgres, redis_probe
from runtime.readiness import Check, Probe, Readiness
from storage.reports.overview import oldest_pending
from workers.api.context import Context
from workers.broker import APPLY_QUEUE
from workers.scheduler import Scheduler

#: A batch whose last attempt failed and that has waited for longer than this is stuck: a single failure is retried
#: within seconds.
STUCK_SECONDS = 60.0


def worker_readiness(
    engine: Engine, context: Context, worker: Worker, scheduler: Scheduler, queues: Collection[str]
) -> Readiness:
    """Return the checks of a work process.

    Parameters:
        engine: an engine that only the checks use.
        queues: the queues that the process serves.
    """

    def look() -> Mapping[str, Check]:
        checks = look_at_postgres(engine)
        return checks | {"pending": look_at_pending(engine)} if APPLY_QUEUE in queues else checks

    return Readiness(
        Probe("postgres", look, POSTGRES_ADVICE),
        redis_probe(context.redis, required=True),
        Probe("jobs", lambda: look_at_jobs(scheduler), "see the log of this process"),
        Probe("threads", lambda: look_at_threads(worker), "restart this process"),
    )


def look_at_pending(engine: Engine) -> Check:
    """Check that accepted notifications are applied: no batch is stuck after an attempt that failed."""
    with engine.connect() as connection:
        oldest = oldest_pending(connection)
    if oldest.seconds is None:
        return Check(True, "no batches wait to be applied")
    detail = f"{oldest.batches:,} batches wait to be applied, the oldest for {oldest.seconds:,.0f} s"
    if oldest.reason is None or oldest.seconds < STUCK_SECONDS:
        return Check(True, detail)
    return Check(False, f"{detail}; the last attempt did not finish: {oldest.reason}", "see `ampeco-receiver status`")


def look_at_jobs(scheduler: Scheduler) -> Mapping[str, Check]:
    """Check that the jobs beside the queues, such as the sweep, succeed."""
    overdue = scheduler.overdue()
    if overdue:
        return {"jobs": Check(False, f"have not succeeded for a while: {', '.join(overdue)}", "see the log")}
    return {"jobs": Check(True, f"{len(scheduler.names)} run on time")}


def look_at_threads(worker: Worker) -> Mapping[str, Check]:
    """Check that every thread that consumes messages or works is alive."""
    threads = [*worker.consumers.values(), *worker.workers]
    ended = [thread for thread in threads if not thread.is_alive()]
    if ended or not threads:
        return {"threads": Check(False, f"{len(ended)} of {len(threads)} threads ended", "restart this process")}
    return {"threads": Check(True, f"{len(threads)} threads are alive")}
