"""The process that consumes: its parts, which it creates, starts and stops."""

from __future__ import annotations

import asyncio
import signal

from confluent_kafka import KafkaException
from starlette.concurrency import run_in_threadpool

from ampeco.tenants import kafka_topics
from receiver.accept.acceptor import Acceptor
from receiver.accept.committer import GroupCommitter
from receiver.accept.heartbeat import UptimeHeartbeat
from receiver.accept.notifier import Notifier
from receiver.admin.readiness import receiver_readiness
from receiver.consume.configuration import consumer_properties
from receiver.consume.consumer import STORED_HEADERS, ConsumerFailedError, RecordConsumer
from receiver.consume.metrics import create_series
from receiver.consume.readiness import KafkaWatch, kafka_cause, kafka_probe
from runtime.admin_port import serve_worker_metrics
from runtime.checks import create_check_engine
from runtime.clock_watch import ClockWatch
from runtime.heartbeat import registered
from runtime.logging import get_logger
from runtime.settings import Settings, SettingsError
from runtime.supervised import notify_ready
from storage.database import create_database_engine
from workers.broker import create_broker, create_redis

logger = get_logger(__name__)


def consume(settings: Settings) -> None:
    """Consume until SIGTERM or SIGINT, then commit what is in flight with its offsets, and return.

    If every tenant has a topic, the consumers write the heartbeat by which outages of ours are measured. Otherwise the
    receivers alone do, because a consumer that is alive takes no notification that calls a URL.

    Raises:
        SettingsError: the client library does not accept the settings.
        SystemExit: the client library cannot continue.
    """
    try:
        asyncio.run(_consume(settings))
    except ConsumerFailedError as error:
        logger.critical("kafka cannot be consumed any more: this process must be restarted", error=str(error))
        raise SystemExit(1) from None
    except KafkaException as error:
        raise SettingsError(f"RECEIVER_KAFKA_BROKERS and its login do not work: {kafka_cause(error)}.") from None


async def _consume(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    topics = kafka_topics(settings.tenants)
    create_series(topics.values())
    database_url = settings.required_database_url()
    redis_client = create_redis(settings.required_redis_url())
    check_engine = create_check_engine(database_url, process="consume readiness")
    engine = create_database_engine(database_url, application_name="ampeco-receiver consume", pool_size=1)
    notifier = Notifier(create_broker(redis_client))
    committer = GroupCommitter(
        database_url,
        notifier.notify,
        commit_timeout=settings.commit_timeout,
        waiting_room=settings.waiting_room,
        waiting_bytes=settings.waiting_bytes,
    )
    tenants = {name: settings.tenants[name] for name in topics.values()}
    unsigned = [tenant.name for tenant in tenants.values() if not tenant.kafka_require_signature]
    acceptor = Acceptor(tenants, committer, unsigned=unsigned, kept_headers=STORED_HEADERS)
    consumer = RecordConsumer(
        consumer_properties(settings),
        topics,
        acceptor,
        committer,
        max_record_bytes=settings.body_limit_bytes,
        max_records=settings.waiting_room,
        max_bytes=settings.waiting_bytes,
        drain_seconds=settings.commit_timeout.total_seconds(),
    )
    probe = kafka_probe(KafkaWatch(settings, topics), lambda: consumer.assigned)
    readiness = receiver_readiness(check_engine, redis_client, committer, probe)
    # No resend is requested after an outage, because Kafka keeps what came in it.
    heartbeat = (
        UptimeHeartbeat(engine, [], ClockWatch(redis_client)) if tenants.keys() == settings.tenants.keys() else None
    )
    with registered(database_url, "consume") as process_heartbeat:
        process_heartbeat.find_problem = readiness.problem
        if settings.consume_metrics_port is not None:
            serve_worker_metrics(
                settings, settings.consume_metrics_port, readiness, setting="RECEIVER_CONSUME_METRICS_PORT"
            )
        notifier.start()
        committer.start()
        if heartbeat is not None:
            heartbeat.start()
        logger.info("consuming", topics=sorted(topics), group=settings.kafka_group, unsigned=sorted(unsigned))
        notify_ready()
        try:
            await consumer.run(stop)
        finally:
            process_heartbeat.find_problem = None
            await committer.stop()
            if heartbeat is not None:
                await heartbeat.stop()
            await run_in_threadpool(notifier.stop)
            await run_in_threadpool(readiness.stop)
            redis_client.close()
            check_engine.dispose()
            engine.dispose()
    logger.info("stopped")
