"""A work process: Dramatiq workers for each queue, and the scheduled jobs beside them."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

import dramatiq
from dramatiq import Broker, Worker
from sqlalchemy import Engine, text

from storage import arrivals, processes, resends, uptime, usage, walks
from storage.clock import clock
from storage.partitions import MAKE_PARTITIONS
from storage.retention import drop_log_day
from workers.apply import apply_open_batches
from workers.background import wait_while_alive
from workers.broker import (
    APPLY_QUEUE,
    APPLY_TIME_LIMIT_MS,
    RECONCILE_QUEUE,
    RECONCILE_TIME_LIMIT_MS,
    REFRESH_QUEUE,
    REFRESH_TIME_LIMIT_MS,
    create_broker,
    worker_middleware,
)
from workers.checks import create_check_engine
from workers.clock_watch import LOOK_INTERVAL, ClockWatch
from workers.context import Context, create_context
from workers.errors import describe
from workers.guardian import Guardian
from workers.listening import listen
from workers.logs import Throttle, get_logger
from workers.operators import serve_worker_figures
from workers.putting_off import PutOffError
from workers.refresh import refresh_tenant
from workers.resend import resend_due
from workers.scheduler import Scheduler
from workers.settings import Settings
from workers.status_logs import read_status_logs
from workers.sweep import awake_for_walks, sweep_batches, wake_apply, wake_refreshes, wake_walks
from workers.walk import walk_due
from workers.worker_readiness import worker_readiness

logger = get_logger(__name__)

#: Milliseconds that an idle consumer waits between two looks at its queue: the most that
#: an idle system adds between commit and apply, at twenty cheap commands a second.
IDLE_WAIT_MS = 50

SWEEP_INTERVAL = timedelta(seconds=5)
WAKE_INTERVAL = timedelta(seconds=1)
PARTITION_INTERVAL = timedelta(hours=1)
WALK_INTERVAL = timedelta(seconds=5)
USAGE_INTERVAL = timedelta(seconds=10)
FORGET_INTERVAL = timedelta(hours=6)

#: How often it is looked for old days of the log; a day that somebody read is tried again then.
DROP_INTERVAL = timedelta(hours=1)
GUARD_INTERVAL = timedelta(seconds=10)
RESEND_INTERVAL = timedelta(seconds=5)
LISTEN_INTERVAL = timedelta(minutes=1)
STATUS_LOG_INTERVAL = timedelta(seconds=10)

#: Records of walks, of the API budget and of what came when are kept this long.
RECORDS_KEPT = timedelta(days=400)

#: Long enough to see which processes went away in the night.
PROCESSES_KEPT = timedelta(days=1)

#: The queues whose work calls AMPECO's API.
API_QUEUES = frozenset({REFRESH_QUEUE, RECONCILE_QUEUE})

#: Walks are made at a tenant's pace, so that few threads serve many tenants.
RECONCILE_THREADS = 2


def declare_actors(broker: Broker, context: Context, settings: Settings) -> None:
    """Declare the actors of a process; they are sync, as Dramatiq's async ones keep exceptions alive."""

    is_new = Throttle()

    def apply(batch_id: str) -> None:
        # What failed is in the log and with the batches, and is tried again a second later for as long as it lasts.
        # Dramatiq would log a traceback for each message, and give up after a few.
        try:
            apply_open_batches(context.engine, context.process_id)
        except PutOffError:
            context.apply_again.append(UUID(batch_id))
        except Exception as error:  # noqa: BLE001 - it is in the log
            context.apply_again.append(UUID(batch_id))
            if is_new(type(error)):
                logger.warning("nothing can be applied now, which is tried again", error=describe(error))

    def refresh(tenant: str) -> None:
        refresh_tenant(context, tenant)

    def reconcile(tenant: str) -> None:
        with awake_for_walks(context.redis, tenant):
            walk_due(context, tenant, settings.reconcile_interval)

    dramatiq.actor(broker=broker, queue_name=APPLY_QUEUE, time_limit=APPLY_TIME_LIMIT_MS)(apply)
    dramatiq.actor(broker=broker, queue_name=REFRESH_QUEUE, time_limit=REFRESH_TIME_LIMIT_MS)(refresh)
    dramatiq.actor(broker=broker, queue_name=RECONCILE_QUEUE, time_limit=RECONCILE_TIME_LIMIT_MS)(reconcile)


def make_partitions(engine: Engine) -> None:
    """Make the log's partitions for the days ahead."""
    with engine.begin() as connection:
        connection.execute(text(MAKE_PARTITIONS))


def forget_records(engine: Engine) -> None:
    """Drop the records that nobody asks for any more."""
    with engine.begin() as connection:
        walks.forget(connection, RECORDS_KEPT)
        usage.forget(connection, RECORDS_KEPT)
        arrivals.forget(connection, RECORDS_KEPT)
        resends.forget(connection, RECORDS_KEPT)
        uptime.forget(connection, RECORDS_KEPT)
        processes.prune(connection, PROCESSES_KEPT)


def drop_log(engine: Engine, keep: timedelta) -> None:
    """Drop the days of the log that are older than ``keep``, oldest first, each in a transaction of its own."""
    while True:
        with engine.begin() as connection:
            dropped = drop_log_day(connection, keep)
        if dropped is None:
            return
        if dropped.became == "open":
            logger.warning("a day of the log is kept: not all that came until its end is settled", day=str(dropped.day))
            return
        logger.info("dropped a day of the log", day=str(dropped.day), failed_ones_kept=dropped.kept)


def look_at_clocks(context: Context, watch: ClockWatch) -> None:
    """Measure Postgres's clock, and compare with it this machine's and those of the tenants that answered."""
    with context.engine.connect() as connection:
        clock.measure(connection)
    watch.look(context.clock_offsets())


def create_scheduler(context: Context, broker: Broker, settings: Settings, queues: Collection[str]) -> Scheduler:
    """The jobs beside the queues; each is safe beside its like in other processes.

    A process that only applies may stand on a network without a way out, so it never calls the API:
    its failures would pause the tenants for those that can.
    """
    scheduler, clocks = Scheduler(), ClockWatch(context.redis)
    every = scheduler.every
    every(PARTITION_INTERVAL, "partitions", lambda: make_partitions(context.engine))
    every(SWEEP_INTERVAL, "sweep", lambda: sweep_batches(context.engine, broker, age=settings.sweep_after))
    every(WAKE_INTERVAL, "wake apply", lambda: wake_apply(context, broker))
    every(WAKE_INTERVAL, "wake", lambda: wake_refreshes(context.engine, broker, context.redis))
    every(WALK_INTERVAL, "walks", lambda: wake_walks(context, broker, settings.reconcile_interval))
    every(LOOK_INTERVAL, "clock", lambda: look_at_clocks(context, clocks))
    every(USAGE_INTERVAL, "usage", lambda: context.usage.write(context.engine))
    every(FORGET_INTERVAL, "forget", lambda: forget_records(context.engine))
    if (keep := settings.keep_notifications) is not None:
        every(DROP_INTERVAL, "drop log", lambda: drop_log(context.engine, keep))
    if not API_QUEUES.isdisjoint(queues):
        guardian = Guardian(context, public_url=settings.public_url, interval=settings.guard_interval)
        every(GUARD_INTERVAL, "guard", guardian.run)
        every(RESEND_INTERVAL, "resend", lambda: resend_due(context))
    if RECONCILE_QUEUE in queues:
        every(STATUS_LOG_INTERVAL, "status logs", lambda: read_status_logs(context))
    every(LISTEN_INTERVAL, "listen", lambda: listen(context))
    return scheduler


def work(settings: Settings, queues: set[str], stop: threading.Event | None = None) -> None:
    """Work until SIGTERM or SIGINT, then finish what is in hand and leave.

    Parameters:
        queues: the queues to serve. Each process serves one kind of work, so that slow
            reads never hold back the applying of what was accepted.
        stop: set to stop; made here, and set by the signals, where none is given.

    Raises:
        SystemExit: a thread ended that the process cannot do without.
    """
    if stop is None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    threads_of = {
        APPLY_QUEUE: settings.apply_threads,
        REFRESH_QUEUE: settings.refresh_threads,
        RECONCILE_QUEUE: RECONCILE_THREADS,
    }
    threads = max(threads_of[queue] for queue in queues)
    with create_context(settings, process=f"work {'+'.join(sorted(queues))}") as context:
        broker = create_broker(context.redis, worker_middleware())
        declare_actors(broker, context, settings)
        worker = Worker(broker, queues=queues, worker_threads=threads, worker_timeout=IDLE_WAIT_MS)
        # A message is a wake-up for work that anybody may do: none is kept in reserve.
        worker.queue_prefetch = threads
        scheduler = create_scheduler(context, broker, settings, queues)
        before = set(threading.enumerate())
        check_engine = create_check_engine(settings.required_database_url(), process="work readiness")
        readiness = worker_readiness(check_engine, context, worker, scheduler, queues)
        broker.emit_after("process_boot")
        worker.start()
        # Before anything else starts: the threads of requests and of checks may end.
        needed = {*worker.workers, *worker.consumers.values(), *threading.enumerate()} - before
        scheduler.start()
        if settings.work_metrics_port is not None:
            serve_worker_figures(settings, settings.work_metrics_port, readiness)
        context.heartbeat.find_problem = readiness.problem
        logger.info("working", queues=sorted(queues), threads=threads)
        all_live = wait_while_alive(stop, {*needed, *scheduler.threads})
        logger.info("stopping: finishing what is in hand")
        context.heartbeat.find_problem = None
        # Jobs and messages end side by side: together they have no longer than either.
        deadline = time.monotonic() + settings.shutdown_timeout.total_seconds()
        scheduler.stop()
        worker.stop(timeout=int(settings.shutdown_timeout.total_seconds() * 1000))
        scheduler.join(timeout_seconds=max(deadline - time.monotonic(), 0.0))
        broker.close()
        check_engine.dispose()
    logger.info("stopped")
    if not all_live:
        raise SystemExit(1)
