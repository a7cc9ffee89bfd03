"""A work process: Dramatiq workers for its queues, and the jobs beside them."""

from __future__ import annotations

import signal
import threading
import time

from dramatiq import Worker
from dramatiq.middleware import Middleware

from runtime.admin_port import serve_worker_metrics
from runtime.background import wait_while_alive
from runtime.checks import create_check_engine
from runtime.logging import get_logger
from runtime.settings import Settings
from runtime.supervised import notify_ready
from workers.actors import declare_actors
from workers.api.context import create_context
from workers.broker import APPLY_QUEUE, DERIVE_QUEUE, RECONCILE_QUEUE, REFRESH_QUEUE, create_broker, worker_middleware
from workers.jobs import create_scheduler
from workers.metrics import create_series
from workers.sync.schedule import listed
from workers.worker_readiness import worker_readiness

logger = get_logger(__name__)

#: Milliseconds that an idle consumer waits before it polls its queue again. It is the longest delay that an idle system
#: adds between commit and apply, and costs twenty cheap commands a second.
IDLE_WAIT_MS = 50

#: Sync runs are limited by each tenant's rate limit, so few threads are enough for many tenants.
RECONCILE_THREADS = 2

#: One process at a time derives for a tenant, so more threads only help many tenants.
DERIVE_THREADS = 2


def work(settings: Settings, queues: set[str], stop: threading.Event | None = None) -> None:
    """Work until SIGTERM or SIGINT, then finish the running work and return.

    Parameters:
        queues: the queues to serve. Each process serves one kind of work, so that slow reads never delay applying.
        stop: ends the work when it is set; by default the signals set an event that is created here.

    Raises:
        SystemExit: a required thread ended.
    """
    if stop is None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    threads_of = {
        APPLY_QUEUE: settings.apply_threads,
        REFRESH_QUEUE: settings.refresh_threads,
        RECONCILE_QUEUE: RECONCILE_THREADS,
        DERIVE_QUEUE: DERIVE_THREADS,
    }
    threads = max(threads_of[queue] for queue in queues)
    reconciles = RECONCILE_QUEUE in queues
    create_series({name: listed(tenant) if reconciles else [] for name, tenant in settings.tenants.items()})
    process = f"work {'+'.join(sorted(queues))}"
    with create_context(settings, process=process) as context:
        broker = create_broker(context.redis, _middleware(settings, process))
        declare_actors(broker, context, settings)
        worker = Worker(broker, queues=queues, worker_threads=threads, worker_timeout=IDLE_WAIT_MS)
        # A message is a wake-up for work that any process may do, so this process prefetches none in reserve.
        worker.queue_prefetch = threads
        scheduler = create_scheduler(context, broker, settings, queues)
        check_engine = create_check_engine(settings.required_database_url(), process="work readiness")
        readiness = worker_readiness(check_engine, context, worker, scheduler, queues)
        before = set(threading.enumerate())
        broker.emit_after("process_boot")
        # Determined before the first message is handled, because the threads of messages, requests and checks may end.
        of_middleware = set(threading.enumerate()) - before
        if settings.work_metrics_port is not None:
            # Before the work begins, because this process ends here if another program has the port.
            serve_worker_metrics(settings, settings.work_metrics_port, readiness)
        worker.start()
        needed = {*of_middleware, *worker.workers, *worker.consumers.values()}
        scheduler.start()
        context.heartbeat.find_problem = readiness.problem
        logger.info("working", queues=sorted(queues), threads=threads)
        notify_ready()
        all_live = wait_while_alive(stop, {*needed, *scheduler.threads})
        logger.info("stopping: finishing the running work")
        context.heartbeat.find_problem = None
        # Jobs and messages end at the same time, so both together take at most one timeout.
        deadline = time.monotonic() + settings.shutdown_timeout.total_seconds()
        scheduler.stop()
        worker.stop(timeout=int(settings.shutdown_timeout.total_seconds() * 1000))
        scheduler.join(timeout_seconds=max(deadline - time.monotonic(), 0.0))
        broker.close()
        readiness.stop()
        check_engine.dispose()
    logger.info("stopped")
    if not all_live:
        raise SystemExit(1)


def _middleware(settings: Settings, process: str) -> list[Middleware]:
    if not settings.tracing:
        return worker_middleware()
    # Imported here, so that a process without traces loads nothing of OpenTelemetry.
    from workers.tracing import TraceMessages

    return [TraceMessages(process), *worker_middleware()]
