"""The process that consumes: its start and stop."""

from __future__ import annotations

import asyncio
import signal

from confluent_kafka import KafkaException

from ampeco.tenants import kafka_topics
from receiver.accept.acceptor import Acceptor
from receiver.accept.process import AcceptingProcess
from receiver.consume.configuration import consumer_properties
from receiver.consume.consumer import STORED_HEADERS, ConsumerFailedError, RecordConsumer
from receiver.consume.metrics import create_series
from receiver.consume.readiness import KafkaWatch, kafka_cause, kafka_probe
from runtime.admin_port import serve_worker_metrics
from runtime.logging import get_logger
from runtime.settings import Settings, SettingsError
from runtime.supervised import notify_ready

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
    tenants = {name: settings.tenants[name] for name in topics.values()}
    unsigned = [tenant.name for tenant in tenants.values() if not tenant.kafka_require_signature]
    process = AcceptingProcess(
        settings,
        "consume",
        # The consumer is created below, because it needs the committer; the probe is asked once everything runs.
        kafka_probe(KafkaWatch(settings, topics), lambda: consumer.assigned),
        # No resend is requested after an outage, because Kafka keeps what came in it.
        resend_tenants=() if tenants.keys() == settings.tenants.keys() else None,
    )
    consumer = RecordConsumer(
        consumer_properties(settings),
        topics,
        Acceptor(tenants, process.committer, unsigned=unsigned, kept_headers=STORED_HEADERS),
        process.committer,
        max_record_bytes=settings.body_limit_bytes,
        max_records=settings.waiting_room,
        max_bytes=settings.waiting_bytes,
        drain_seconds=settings.commit_timeout.total_seconds(),
    )
    async with process.running():
        if (port := settings.consume_metrics_port) is not None:
            serve_worker_metrics(settings, port, process.readiness, setting="RECEIVER_CONSUME_METRICS_PORT")
        logger.info("consuming", topics=sorted(topics), group=settings.kafka_group, unsigned=sorted(unsigned))
        notify_ready()
        await consumer.run(stop)
    logger.info("stopped")
