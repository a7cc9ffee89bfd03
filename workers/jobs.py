"""The jobs that a work process repeats beside its queues."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from dramatiq.brokers.redis import RedisBroker
from sqlalchemy import Engine

from runtime.alerts import load_alerts
from runtime.clock_watch import LOOK_INTERVAL, ClockWatch
from runtime.logging import get_logger
from runtime.settings import Settings
from storage.clock import clock
from storage.inbox.partitions import make_partitions
from storage.inbox.retention import drop_log_day
from storage.monitoring import alerts, minutes, processes, resends, traffic
from storage.state.meter_partitions import drop_meter_month, make_meter_partitions
from storage.sync import api_usage as usage
from storage.sync import consumption_reads, sync_runs
from workers.api import daily_quota
from workers.api.context import Context
from workers.broker import DERIVE_QUEUE, RECONCILE_QUEUE, REFRESH_QUEUE
from workers.metrics import API_QUOTA_USED
from workers.monitoring.alerts import AlertJob
from workers.monitoring.resend import resend_due
from workers.monitoring.subscription_monitor import SubscriptionMonitor
from workers.monitoring.traffic import monitor_traffic
from workers.scheduler import Scheduler
from workers.sync.consumption import read_consumption
from workers.sync.status_logs import read_status_logs
from workers.wake_ups import sweep_batches, wake_apply, wake_derivations, wake_refreshes, wake_sync_runs

logger = get_logger(__name__)

SWEEP_INTERVAL = timedelta(seconds=5)
WAKE_INTERVAL = timedelta(seconds=1)
PARTITION_INTERVAL = timedelta(hours=1)
SYNC_RUN_INTERVAL = timedelta(seconds=5)
USAGE_INTERVAL = timedelta(seconds=10)
PRUNE_INTERVAL = timedelta(hours=6)

#: How often old days of the log and old months of meter values are dropped. One that could not be dropped because it
#: was being read is retried then.
DROP_INTERVAL = timedelta(hours=1)
SUBSCRIPTION_CHECK_INTERVAL = timedelta(seconds=10)
RESEND_INTERVAL = timedelta(seconds=5)
TRAFFIC_INTERVAL = timedelta(minutes=1)
ALERT_INTERVAL = timedelta(seconds=15)

#: How often a job records the minutes that have ended. It counts what waits at that moment, so at most this long after
#: the end of the minute.
MINUTE_INTERVAL = timedelta(seconds=10)
STATUS_LOG_INTERVAL = timedelta(seconds=10)
DERIVE_INTERVAL = timedelta(seconds=0.25)
CONSUMPTION_INTERVAL = timedelta(seconds=10)
QUOTA_INTERVAL = timedelta(seconds=10)

#: How long records of sync runs, reads of consumption, API usage, traffic, resends and incidents are kept.
RECORDS_KEPT = timedelta(days=400)

#: How long ended processes are kept: long enough to see which processes were lost during the night.
PROCESSES_KEPT = timedelta(days=1)

#: The queues whose work calls AMPECO's API.
API_QUEUES = frozenset({REFRESH_QUEUE, RECONCILE_QUEUE})


def prune_records(engine: Engine) -> None:
    """Delete records that are older than their retention."""
    with engine.begin() as connection:
        sync_runs.prune(connection, RECORDS_KEPT)
        consumption_reads.prune(connection, RECORDS_KEPT)
        usage.prune(connection, RECORDS_KEPT)
        traffic.prune(connection, RECORDS_KEPT)
        resends.prune(connection, RECORDS_KEPT)
        alerts.prune(connection, RECORDS_KEPT)
        processes.prune(connection, PROCESSES_KEPT)
        minutes.prune(connection)


def record_minutes(context: Context) -> None:
    """Record the minutes of all tenants that are over."""
    for tenant in context.tenants:
        with context.engine.begin() as connection:
            minutes.record(connection, tenant)


def drop_log(engine: Engine, keep: timedelta) -> None:
    """Drop the days of the log that are older than ``keep``, oldest first, each in a transaction of its own."""
    while True:
        with engine.begin() as connection:
            dropped = drop_log_day(connection, keep)
        if dropped is None:
            return
        if dropped.became == "open":
            logger.warning("a day of the log is kept: batches from before its end are open", day=str(dropped.day))
            return
        logger.info("day of the log dropped", day=str(dropped.day), failed_kept=dropped.kept)


def make_all_partitions(engine: Engine) -> None:
    """Make the partitions of the log for the days ahead, then those of meter values for the months ahead."""
    make_partitions(engine)
    make_meter_partitions(engine)


def drop_meter_values(engine: Engine, keep: timedelta) -> None:
    """Drop the months of meter values that are older than ``keep``, oldest first, each in a transaction of its own."""
    while True:
        with engine.begin() as connection:
            dropped = drop_meter_month(connection, keep)
        if dropped is None:
            return
        until = str(dropped.ended_at.date())
        if dropped.became == "logged":
            logger.warning("a month of meter values is kept: the log has notifications of it", until=until)
            return
        logger.info("month of meter values dropped", until=until)


def look_at_clocks(context: Context, watch: ClockWatch) -> None:
    """Measure Postgres's clock, and compare this machine's clock and those of the tenants with it."""
    with context.engine.connect() as connection:
        clock.measure(connection)
    watch.look(context.clock_offsets())


def look_at_quotas(context: Context) -> None:
    """Show how much of each tenant's daily quota is used."""
    for name, tenant in context.tenants.items():
        API_QUOTA_USED.labels(name).set(daily_quota.calls_today(context.redis, name) / tenant.calls_per_day)


def create_scheduler(context: Context, broker: RedisBroker, settings: Settings, queues: Collection[str]) -> Scheduler:
    """Return the jobs beside the queues; each job may run in several processes at once.

    A process that only applies may be on a network without access to AMPECO, so it never calls the API: its failures
    would pause the tenants for the processes that have access. For the same reason it does not alert people.

    Raises:
        TenantsError: the settings of alerts are wrong.
    """
    scheduler, clocks = Scheduler(), ClockWatch(context.redis)
    every = scheduler.every
    every(PARTITION_INTERVAL, "partitions", lambda: make_all_partitions(context.engine))
    every(SWEEP_INTERVAL, "sweep", lambda: sweep_batches(context.engine, broker, age=settings.sweep_after))
    every(WAKE_INTERVAL, "wake apply", lambda: wake_apply(context, broker))
    every(WAKE_INTERVAL, "wake", lambda: wake_refreshes(context, broker))
    every(SYNC_RUN_INTERVAL, "sync runs", lambda: wake_sync_runs(context, broker, settings.reconcile_interval))
    every(LOOK_INTERVAL, "clock", lambda: look_at_clocks(context, clocks))
    every(USAGE_INTERVAL, "usage", context.write_usage)
    every(PRUNE_INTERVAL, "prune", lambda: prune_records(context.engine))
    if (keep := settings.keep_notifications) is not None:
        every(DROP_INTERVAL, "drop log", lambda: drop_log(context.engine, keep))
    if (keep_meter_values := settings.keep_meter_values) is not None:
        every(DROP_INTERVAL, "drop meter values", lambda: drop_meter_values(context.engine, keep_meter_values))
    if not API_QUEUES.isdisjoint(queues):
        monitor = SubscriptionMonitor(
            context, public_url=settings.public_url, interval=settings.subscription_check_interval
        )
        every(SUBSCRIPTION_CHECK_INTERVAL, "subscriptions", monitor.run)
        every(RESEND_INTERVAL, "resend", lambda: resend_due(context))
        every(QUOTA_INTERVAL, "quota", lambda: look_at_quotas(context))
        if (configured := load_alerts(settings)) is not None:
            every(ALERT_INTERVAL, "alerts", AlertJob(context, configured).run)
    if RECONCILE_QUEUE in queues:
        every(STATUS_LOG_INTERVAL, "status logs", lambda: read_status_logs(context))
        every(CONSUMPTION_INTERVAL, "consumption", lambda: read_consumption(context))
    if DERIVE_QUEUE in queues:
        every(DERIVE_INTERVAL, "derive", lambda: wake_derivations(context, broker))
    every(MINUTE_INTERVAL, "minutes", lambda: record_minutes(context))
    every(TRAFFIC_INTERVAL, "traffic", lambda: monitor_traffic(context))
    return scheduler
